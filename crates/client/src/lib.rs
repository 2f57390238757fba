//! What an application links to talk to a chinwag cluster.
//!
//! A value that was written concurrently comes back as several siblings, with one opaque [`Context`] that covers them
//! all. The application merges them and puts the result with that context, which replaces exactly what it saw:
//!
//! ```no_run
//! use chinwag_client::{Client, ClusterSecret, Credential, Role};
//! use std::time::{Duration, SystemTime};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let secret: ClusterSecret = std::fs::read_to_string("cluster.secret")?.parse()?;
//! let mut key_seed = [0; 32];
//! // Fill it from the operating system, e.g. with `getrandom::fill(&mut key_seed)`.
//! # key_seed[0] = 1;
//! let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
//! let credential = Credential::mint(&secret, Role::Client, key_seed, now)?;
//! let client = Client::new(&["127.0.0.1:7001".parse()?], &credential)?;
//!
//! // A shopping cart is a set of lines: siblings merge by union.
//! let cart = client.get("cart").await?;
//! let mut lines: Vec<String> = cart
//!     .siblings
//!     .iter()
//!     .flat_map(|sibling| String::from_utf8_lossy(&sibling.value).lines().map(str::to_owned).collect::<Vec<_>>())
//!     .collect();
//! lines.push("1 x tea".to_owned());
//! lines.sort();
//! lines.dedup();
//! client.put("cart", lines.join("\n")).context(cart.context).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A request that times out may have been applied: it fails with [`RequestError::Unknown`], never with "failed".
//!
//! Reading order: [`client`] (requests), [`context`], [`secret`] and [`credential`] (who may enter), then what travels:
//! [`wire`] and [`metrics`], [`codec`], [`frame`].

pub mod client;
pub mod codec;
pub mod context;
pub mod credential;
pub mod frame;
pub mod ids;
pub mod metrics;
#[cfg(feature = "pinned")]
pub mod pinned;
pub mod secret;
pub mod wire;

pub use client::{Client, Get, Put, Receipt, RequestError, SetupError, Sibling, TIMEOUT_DEFAULT, Value};
pub use context::{Context, ContextError};
pub use credential::{Credential, CredentialError, Role, Tls};
pub use secret::{ClusterSecret, SecretError};
pub use wire::Consistency;
