//! Faults below QUIC: what the network between nodes does to their packets, when, and a socket that lets it happen.
//! Refuses payloads: it sees addresses, lengths and times only.
//!
//! | module | owns |
//! |---|---|
//! | `faults` | [`LinkFaults`]: what one directed link does to packets |
//! | `link` | [`Link`]: the verdict on one packet, from the link's own random stream |
//! | `plan`, `table` | [`FaultTable`]: the faults in force between all nodes |
//! | `socket`, `delay` | [`FaultySocket`]: a real UDP socket under such a table |
//! | `sim` | [`SimNet`]: a simulated network under such a table; the same seed gives the same bytes |
//! | `scenario` | [`Scenario`]: a schedule of faults, in TOML |
//! | `nemesis` | [`Nemesis`]: random faults, drawn into a scenario's steps |
//! | `play` | [`play`]: a scenario on a table, step by step |
//!
//! A network that loses a tenth of the packets from one node, until it is cut:
//!
//! ```
//! use chinwag_fuzz_net::{FaultTable, FaultySocket, LinkFaults, Selector, SimNet};
//! use quinn::Runtime;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let table = FaultTable::new(42);
//! let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
//! let socket = quinn::TokioRuntime.wrap_udp_socket(socket)?;
//! let socket = FaultySocket::wrap(socket, &table, "replica0")?; // for quinn::Endpoint::new_with_abstract_socket
//!
//! let lossy = LinkFaults { drop: 0.1, ..LinkFaults::default() };
//! table.set_links(&Selector::nodes(["replica0"]), &Selector::All, lossy);
//! table.partition([vec!["replica0"], vec!["replica1", "replica2"]]);
//!
//! // The same without the machine's network, reproducible under tokio's paused clock:
//! let net = SimNet::new(table);
//! let simulated = net.bind(([10, 0, 0, 1], 4433).into(), "replica0")?;
//! # drop((socket, simulated));
//! # Ok(())
//! # }
//! ```

mod clock;
mod faults;
mod link;
mod nemesis;
mod scenario;
mod selector;
mod table;

mod delay;
mod duration;
mod plan;
mod play;
mod random;
mod sim;
mod socket;

pub use clock::ClockOffset;
pub use faults::{Bandwidth, GilbertElliott, Latency, LinkFaults};
pub use link::{Corruption, Link, LinkStats, Verdict};
pub use nemesis::Nemesis;
pub use play::{Host, PlayError, play};
pub use scenario::{Action, LoadError, Phase, Problem, Scenario, ScenarioError, Step};
pub use selector::Selector;
pub use sim::{SimNet, SimRuntime, SimSocket, SimStats};
pub use socket::FaultySocket;
pub use table::{FaultTable, LinkReport};
