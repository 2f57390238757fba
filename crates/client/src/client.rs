//! A connection to the cluster through one coordinator at a time, and the requests it carries.

use std::future::IntoFuture;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::codec;
use crate::context::Context;
use crate::credential::{Credential, CredentialError, Role, is_refused_handshake};
use crate::frame::{CallError, Caller};
use crate::metrics::Metric;
use crate::wire::{
    Consistency, DumpPage, Evidence, Got, Located, MemberInfo, PairStatus, Refusal, RefusalCode,
    RepairReport, RepairScope, Request, RequestOptions, Response, RingInfo, WatchCursor, Watched, WireDot,
    Written,
};

/// How long a coordinator may take unless a request says otherwise.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// How long one member gets to complete a handshake before the next is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// What an answer may take beyond the coordinator's own timeout before the connection is given up.
const ANSWER_GRACE: Duration = Duration::from_millis(500);
/// After no member could be reached, requests fail at once for this long instead of queueing behind new attempts.
const RECONNECT_PAUSE: Duration = Duration::from_millis(250);
/// A repair may move a whole disk.
const REPAIR_TIMEOUT: Duration = Duration::from_secs(600);

/// A client. Clones share one connection; requests on it run side by side.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
    timeout: Duration,
    /// Whose keys its requests are about; `None` for `default`.
    bucket: Option<String>,
}

#[derive(Debug)]
struct Shared {
    endpoint: quinn::Endpoint,
    config: quinn::ClientConfig,
    addresses: Vec<SocketAddr>,
    contacts: Mutex<Contacts>,
}

#[derive(Debug, Default)]
struct Contacts {
    /// Index of the address in use, or to be tried next.
    next: usize,
    open: Option<Contact>,
    /// When and why no member could be reached.
    failed: Option<(Instant, SocketAddr, String)>,
}

/// The member in use.
#[derive(Debug, Clone)]
struct Contact {
    address: SocketAddr,
    connection: quinn::Connection,
    caller: Caller,
}

/// A client could not be set up. Nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// No address of a member was given.
    #[error("no member to connect to: give the address of at least one")]
    NoAddress,
    /// The local UDP socket could not be opened.
    #[error("cannot open a UDP socket: {0}")]
    Socket(#[from] std::io::Error),
    /// The credential cannot be used.
    #[error(transparent)]
    Credential(#[from] CredentialError),
}

/// A request was not answered with what it asked for.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// No member could be reached: nothing was sent, safe to retry.
    #[error("cannot reach {address}: {reason}")]
    Connect {
        /// The last address tried.
        address: SocketAddr,
        /// What the transport said.
        reason: String,
    },
    /// The request is wrong; nothing was changed. Repeating it gives the same answer.
    #[error("{0}")]
    Invalid(String),
    /// The key's bucket is of another kind than the request: a context for one in which the last writer wins. Nothing was
    /// changed; repeating it gives the same answer.
    #[error("{0}")]
    WrongKind(String),
    /// Too few replicas can be reached; nothing was changed, safe to retry.
    #[error("{0}")]
    Unavailable(String),
    /// No answer in time: a write may have been applied. Read the key to find out.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// The member failed while it worked on the request: a write may have been applied.
    #[error("the member failed: {0}")]
    Internal(String),
    /// The answer is not of this protocol; the member is of another version.
    #[error("the member answered with something else than was asked for: {0}")]
    Protocol(String),
}

impl RequestError {
    /// Whether a write that failed so is known to have changed nothing.
    pub fn nothing_changed(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Invalid(_) | Self::WrongKind(_) | Self::Unavailable(_))
    }
}

impl Client {
    /// A client of the members at `addresses`, tried in order. It connects with the first request.
    ///
    /// # Errors
    /// [`SetupError`] if there is no address, no socket or no usable credential. Must be called within a tokio runtime.
    pub fn new(addresses: &[SocketAddr], credential: &Credential) -> Result<Self, SetupError> {
        // A socket of IPv6 reaches both families; a machine without IPv6 still reaches the addresses of IPv4.
        let both = || quinn::Endpoint::client((Ipv6Addr::UNSPECIFIED, 0).into());
        let v4 = || quinn::Endpoint::client((Ipv4Addr::UNSPECIFIED, 0).into());
        let endpoint =
            if addresses.iter().any(SocketAddr::is_ipv6) { both().or_else(|_no_ipv6| v4())? } else { v4()? };
        Self::with_quic(endpoint, quic_config(credential)?, addresses)
    }

    /// A client that uses a given QUIC endpoint, with a configuration made by [`quic_config`]: many clients on one
    /// socket, or a simulated one.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn with_quic(
        endpoint: quinn::Endpoint,
        config: quinn::ClientConfig,
        addresses: &[SocketAddr],
    ) -> Result<Self, SetupError> {
        if addresses.is_empty() {
            return Err(SetupError::NoAddress);
        }
        let shared = Shared { endpoint, config, addresses: addresses.to_vec(), contacts: Mutex::default() };
        Ok(Self { shared: Arc::new(shared), timeout: TIMEOUT_DEFAULT, bucket: None })
    }

    /// The same client with another timeout for requests that set none of their own, [`Client::repair`] excepted.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// The same client, on the same connection, for the keys of a bucket: a key names another thing in each. A client is
    /// of the bucket `default` until told otherwise.
    ///
    /// ```no_run
    /// # async fn example(client: chinwag_client::Client) -> Result<(), chinwag_client::RequestError> {
    /// let carts = client.bucket("carts");
    /// carts.put("alice", "1 x tea").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn bucket(&self, name: impl Into<String>) -> Self {
        Self { bucket: Some(name.into()), ..self.clone() }
    }

    /// Reads `key`. Await the request, or set its options first.
    pub fn get(&self, key: impl Into<Bytes>) -> Get<'_> {
        Get { client: self, key: key.into(), options: self.options(), local: false, evidence: false }
    }

    /// Writes `value` to `key`. Without a context the value becomes a sibling of whatever is there; in a bucket in which the
    /// last writer wins it takes its place.
    pub fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Put<'_> {
        let value = Some(value.into());
        Put { client: self, key: key.into(), value, context: None, options: self.options() }
    }

    /// Deletes what `context` has seen of `key`; a concurrent value survives. In a bucket in which the last writer wins give
    /// `None`.
    pub fn delete(&self, key: impl Into<Bytes>, context: impl Into<Option<Context>>) -> Put<'_> {
        let context = context.into();
        Put { client: self, key: key.into(), value: None, context, options: self.options() }
    }

    /// The members the coordinator knows, in name order.
    ///
    /// # Errors
    /// [`RequestError`]; nothing was changed.
    pub async fn members(&self) -> Result<Vec<MemberInfo>, RequestError> {
        match self.ask(&Request::Members, self.timeout).await? {
            Response::Members(members) => Ok(members),
            other => Err(unexpected(other)),
        }
    }

    /// Who owns which partition for the keys of this client's bucket, as the coordinator sees it.
    ///
    /// # Errors
    /// [`RequestError`]; nothing was changed.
    pub async fn ring(&self) -> Result<RingInfo, RequestError> {
        match self.ask(&Request::Ring { bucket: self.bucket.clone() }, self.timeout).await? {
            Response::Ring(ring) => Ok(ring),
            other => Err(unexpected(other)),
        }
    }

    /// Where `key` lives.
    ///
    /// # Errors
    /// [`RequestError`]; nothing was changed.
    pub async fn locate(&self, key: impl Into<Bytes>) -> Result<Located, RequestError> {
        let request = Request::Locate { bucket: self.bucket.clone(), key: key.into() };
        match self.ask(&request, self.timeout).await? {
            Response::Located(located) => Ok(located),
            other => Err(unexpected(other)),
        }
    }

    /// One page of what the coordinator itself holds; give the page's `next` to go on.
    ///
    /// # Errors
    /// [`RequestError`]; nothing was changed.
    pub async fn dump(&self, after: Option<Bytes>) -> Result<DumpPage, RequestError> {
        match self.ask(&Request::Dump { after }, self.timeout).await? {
            Response::Dump(page) => Ok(page),
            other => Err(unexpected(other)),
        }
    }

    /// One page of all that the coordinator itself has stored, for a backup, and what to give for the next.
    ///
    /// # Errors
    /// [`RequestError`]; nothing was changed.
    pub async fn backup(&self, after: Option<Bytes>) -> Result<(Bytes, Option<Bytes>), RequestError> {
        match self.ask(&Request::Backup { after }, self.timeout).await? {
            Response::Backup { page, next } => Ok((page, next)),
            other => Err(unexpected(other)),
        }
    }

    /// Has the coordinator run one round of anti-entropy with each member it shares a partition with, and waits for it.
    ///
    /// # Errors
    /// [`RequestError`]; a broken-off repair has changed nothing but what it repaired.
    pub async fn repair(&self) -> Result<RepairReport, RequestError> {
        self.repair_within(RepairScope::default()).await
    }

    /// The same with one member or for some partitions only.
    ///
    /// # Errors
    /// [`RequestError`]; a broken-off repair has changed nothing but what it repaired.
    pub async fn repair_within(&self, scope: RepairScope) -> Result<RepairReport, RequestError> {
        match self.ask(&Request::Repair(scope), REPAIR_TIMEOUT).await? {
            Response::Repaired(report) => Ok(report),
            other => Err(unexpected(other)),
        }
    }

    /// When the coordinator's trees were last equal to those of others, of one partition or of all.
    ///
    /// # Errors
    /// [`RequestError`]; nothing was changed.
    pub async fn anti_entropy(&self, partition: Option<u16>) -> Result<Vec<PairStatus>, RequestError> {
        match self.ask(&Request::AntiEntropy { partition }, self.timeout).await? {
            Response::AntiEntropy(pairs) => Ok(pairs),
            other => Err(unexpected(other)),
        }
    }

    /// What the coordinator counts and measures of itself, always in the same order.
    ///
    /// # Errors
    /// [`RequestError`]; nothing was changed.
    pub async fn metrics(&self) -> Result<Vec<Metric>, RequestError> {
        match self.ask(&Request::Metrics, self.timeout).await? {
            Response::Metrics(metrics) => Ok(metrics),
            other => Err(unexpected(other)),
        }
    }

    /// Waits for what becomes of the members: answers with their table at first, then, given the cursor of the answer
    /// before, with the changes since, as soon as there are any. With none after `patience` (the member may have less:
    /// half a minute) it answers with none.
    ///
    /// # Errors
    /// [`RequestError`]; nothing was changed. Ask again with the same cursor: if changes were missed, the answer is the
    /// whole table.
    pub async fn watch_members(
        &self,
        after: Option<WatchCursor>,
        patience: Duration,
    ) -> Result<Watched, RequestError> {
        let request = Request::Watch { after, patience_ms: whole_milliseconds(patience) };
        match self.ask(&request, patience + self.timeout).await? {
            Response::Watched(watched) => Ok(watched),
            other => Err(unexpected(other)),
        }
    }

    /// Ends the connection; the member learns of it at once. Later requests open a new one.
    pub async fn close(&self) {
        if let Some(Contact { connection, .. }) = self.shared.contacts.lock().await.open.take() {
            connection.close(0u32.into(), b"done");
            // The goodbye is sent by the connection's own task: whoever ends the runtime next would silence it, and the
            // member would hold the connection until it idles out.
            tokio::task::yield_now().await;
        }
    }

    fn options(&self) -> RequestOptions {
        RequestOptions {
            consistency: Consistency::Quorum,
            primaries: false,
            timeout_ms: whole_milliseconds(self.timeout),
            trace: None,
        }
    }

    /// Sends a request until one member has received it, and gives its answer.
    async fn ask(&self, request: &Request, patience: Duration) -> Result<Response, RequestError> {
        let is_write = matches!(request, Request::Put { .. });
        let body = codec::encode(request);
        let mut attempts_left = self.shared.addresses.len();
        let deadline = Instant::now() + patience + ANSWER_GRACE;
        loop {
            let Contact { address, caller, .. } = self.contact(deadline).await?;
            attempts_left = attempts_left.saturating_sub(1);
            let error = match timeout_at(deadline, caller.call(body.clone())).await {
                Ok(Ok(answer)) => return understand(&answer),
                Ok(Err(CallError::TooLong)) => {
                    return Err(RequestError::Invalid(CallError::TooLong.to_string()));
                }
                Ok(Err(error)) => error,
                Err(_elapsed) => {
                    return Err(RequestError::Unknown(format!("{address} did not answer in time")));
                }
            };
            self.abandon(&caller);
            match error {
                CallError::Lost if is_write || attempts_left == 0 => {
                    return Err(RequestError::Unknown(format!("{address}: {error}")));
                }
                error if attempts_left == 0 => {
                    return Err(RequestError::Connect { address, reason: error.to_string() });
                }
                _ => {}
            }
        }
    }

    /// The open connection, or a new one to the next address that takes it.
    async fn contact(&self, deadline: Instant) -> Result<Contact, RequestError> {
        // Whoever holds the lock is dialling.
        let mut contacts = match timeout_at(deadline, self.shared.contacts.lock()).await {
            Ok(contacts) => contacts,
            Err(_elapsed) => {
                let address = self.shared.addresses[0];
                return Err(RequestError::Connect { address, reason: "no answer in time".to_owned() });
            }
        };
        if let Some(contact) = &contacts.open
            && !contact.caller.is_closed()
        {
            return Ok(contact.clone());
        }
        contacts.open = None;
        if contacts.failed.as_ref().is_none_or(|(when, ..)| when.elapsed() > RECONNECT_PAUSE) {
            contacts.failed = None;
            for _ in 0..self.shared.addresses.len() {
                let address = self.shared.addresses[contacts.next % self.shared.addresses.len()];
                match self.connect(address, deadline).await {
                    Ok(contact) => {
                        contacts.open = Some(contact.clone());
                        contacts.failed = None;
                        return Ok(contact);
                    }
                    Err(reason) => contacts.failed = Some((Instant::now(), address, reason)),
                }
                contacts.next += 1;
            }
        }
        let (_, address, reason) = contacts.failed.clone().expect("a client tries at least one address");
        Err(RequestError::Connect { address, reason })
    }

    async fn connect(&self, address: SocketAddr, deadline: Instant) -> Result<Contact, String> {
        let handshake = async {
            let connecting = self
                .shared
                .endpoint
                .connect_with(self.shared.config.clone(), address, Role::Member.server_name())
                .map_err(|error| error.to_string())?;
            let connection = connecting.await.map_err(|error| explain(&error))?;
            let (send, recv) = connection.open_bi().await.map_err(|error| explain(&error))?;
            Ok((connection.clone(), Caller::new(connection, send, recv)))
        };
        match timeout_at(deadline.min(Instant::now() + CONNECT_TIMEOUT), handshake).await {
            Ok(Ok((connection, (caller, driver)))) => {
                tokio::spawn(driver);
                Ok(Contact { address, connection, caller })
            }
            Ok(Err(reason)) => Err(reason),
            Err(_elapsed) => Err("no answer in time".to_owned()),
        }
    }

    /// Gives up the connection that `failed` is on, unless another request has replaced it already.
    fn abandon(&self, failed: &Caller) {
        // Whoever holds the lock is replacing it.
        let Ok(mut contacts) = self.shared.contacts.try_lock() else { return };
        if contacts.open.as_ref().is_some_and(|open| open.caller.is_same(failed)) {
            contacts.open = None;
            contacts.next += 1;
        }
    }
}

/// Says what an operator can do about a failed handshake.
fn explain(error: &quinn::ConnectionError) -> String {
    if is_refused_handshake(error) {
        format!("the handshake was refused ({error}): is it the same cluster secret?")
    } else {
        error.to_string()
    }
}

/// The QUIC settings of a client that shows `credential`.
///
/// # Errors
/// [`CredentialError`] if the credential cannot be used.
pub fn quic_config(credential: &Credential) -> Result<quinn::ClientConfig, CredentialError> {
    let mut config = quinn::ClientConfig::new(Arc::new(credential.quic_client()?));
    config.transport_config(Arc::new(transport()));
    Ok(config)
}

/// What a client connection asks of QUIC: noticed within seconds when the member is gone, kept open when idle.
fn transport() -> quinn::TransportConfig {
    let mut transport = quinn::TransportConfig::default();
    transport.keep_alive_interval(Some(Duration::from_secs(3)));
    transport.max_idle_timeout(Some(quinn::IdleTimeout::from(quinn::VarInt::from_u32(10_000))));
    transport
}

impl From<Refusal> for RequestError {
    fn from(refusal: Refusal) -> Self {
        match refusal.code {
            RefusalCode::Invalid => Self::Invalid(refusal.message),
            RefusalCode::WrongKind => Self::WrongKind(refusal.message),
            RefusalCode::Unavailable => Self::Unavailable(refusal.message),
            RefusalCode::Unknown => Self::Unknown(refusal.message),
            RefusalCode::Internal => Self::Internal(refusal.message),
        }
    }
}

fn understand(answer: &[u8]) -> Result<Response, RequestError> {
    match codec::decode(answer) {
        Ok(Response::Refused(refusal)) => Err(refusal.into()),
        Ok(response) => Ok(response),
        Err(error) => Err(RequestError::Protocol(error.to_string())),
    }
}

fn unexpected(response: Response) -> RequestError {
    RequestError::Protocol(format!("{response:?}").chars().take(80).collect())
}

/// A timeout as it travels: from 1 ms to 49 days.
fn whole_milliseconds(timeout: Duration) -> u32 {
    u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX).max(1)
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, RequestError>> + Send + 'a>>;

/// A read in preparation; await it to send it.
#[derive(Debug)]
#[must_use = "a request is sent when it is awaited"]
pub struct Get<'a> {
    client: &'a Client,
    key: Bytes,
    options: RequestOptions,
    local: bool,
    evidence: bool,
}

/// A write in preparation; await it to send it.
#[derive(Debug)]
#[must_use = "a request is sent when it is awaited"]
pub struct Put<'a> {
    client: &'a Client,
    key: Bytes,
    value: Option<Bytes>,
    context: Option<Context>,
    options: RequestOptions,
}

/// What a get found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The concurrent values in a stable order; none if the key is absent, deleted or expired, more than one if it needs
    /// reconciling.
    pub siblings: Vec<Sibling>,
    /// Covers every sibling: a put with it replaces them all. Empty in a bucket in which the last writer wins.
    pub context: Context,
    /// The causal facts, if [`Get::evidence`] was asked for.
    pub evidence: Option<Evidence>,
}

/// One concurrent value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sibling {
    /// The version's identity, the same on every replica.
    pub dot: WireDot,
    /// The bytes that were put.
    pub value: Bytes,
}

/// What a put left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The context supplied plus exactly this write. Empty in a bucket in which the last writer wins.
    pub context: Context,
    /// The new version's identity.
    pub dot: WireDot,
    /// Names of the replicas that had it when the answer was given, fallbacks included.
    pub replicas: Vec<String>,
}

macro_rules! request_options {
    ($request:ident) => {
        impl $request<'_> {
            /// How many replicas must answer; [`Consistency::Quorum`] unless said otherwise.
            pub fn consistency(mut self, consistency: Consistency) -> Self {
                self.options.consistency = consistency;
                self
            }

            /// Counts primaries only: no fallback may stand in for an unreachable replica.
            pub fn primaries(mut self, primaries: bool) -> Self {
                self.options.primaries = primaries;
                self
            }

            /// How long the coordinator may take, from 1 ms to 49 days; [`TIMEOUT_DEFAULT`] unless said otherwise.
            pub fn timeout(mut self, timeout: Duration) -> Self {
                self.options.timeout_ms = whole_milliseconds(timeout);
                self
            }

            /// A number by which members that were handed a witness tell it of this request's messages, for measuring.
            pub fn trace(mut self, number: u64) -> Self {
                self.options.trace = Some(number);
                self
            }

            fn patience(&self) -> Duration {
                Duration::from_millis(self.options.timeout_ms.into())
            }
        }
    };
}
request_options!(Get);
request_options!(Put);

impl Get<'_> {
    /// Asks the coordinator for what it holds itself, and nobody else.
    pub fn local(mut self, local: bool) -> Self {
        self.local = local;
        self
    }

    /// Asks for the causal facts behind the answer, for measuring.
    pub fn evidence(mut self, evidence: bool) -> Self {
        self.evidence = evidence;
        self
    }
}

impl Put<'_> {
    /// What the writer has seen of the key: the siblings it covers are replaced.
    pub fn context(mut self, context: Context) -> Self {
        self.context = Some(context);
        self
    }
}

impl<'a> IntoFuture for Get<'a> {
    type Output = Result<Value, RequestError>;
    type IntoFuture = Answer<'a, Value>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let patience = self.patience();
            let request = Request::Get {
                bucket: self.client.bucket.clone(),
                key: self.key,
                options: self.options,
                local: self.local,
                evidence: self.evidence,
            };
            match self.client.ask(&request, patience).await? {
                Response::Got(got) => Ok(got.into()),
                other => Err(unexpected(other)),
            }
        })
    }
}

impl<'a> IntoFuture for Put<'a> {
    type Output = Result<Receipt, RequestError>;
    type IntoFuture = Answer<'a, Receipt>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let patience = self.patience();
            let context = self.context.as_ref().map(Context::sealed);
            let bucket = self.client.bucket.clone();
            let request =
                Request::Put { bucket, key: self.key, value: self.value, context, options: self.options };
            match self.client.ask(&request, patience).await? {
                Response::Written(Written { context, dot, replicas }) => {
                    Ok(Receipt { context: Context::from_sealed(context), dot, replicas })
                }
                other => Err(unexpected(other)),
            }
        })
    }
}

impl From<Got> for Value {
    fn from(got: Got) -> Self {
        let siblings = got.siblings.into_iter().map(|it| Sibling { dot: it.dot, value: it.value }).collect();
        Self { siblings, context: Context::from_sealed(got.context), evidence: got.evidence }
    }
}
