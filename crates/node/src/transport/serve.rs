//! The answering side of streams: accepts connections, tells members from clients, feeds frames to a [`Service`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chinwag_client::Role;
use chinwag_client::frame::{Frame, FrameError, FrameReader, FrameSender, frame_writer};
use futures_util::poll;
use rustls::pki_types::CertificateDer;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::queues::Queues;
use crate::tasks::Tasks;
use crate::transport::endpoint::{Endpoint, TurnedAway};

/// A stranger gets this long to complete its handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Most requests of one stream that are worked on at once; more wait unread.
pub(crate) const REQUESTS_PER_STREAM_MAX: usize = 512;

/// Frames of this call open a stream of their own: an exchange, which then belongs to the service.
pub(crate) const OPENING_CALL: u64 = 0;

/// What answers the requests of one kind of correspondent.
pub(crate) trait Service: Send + Sync + 'static {
    /// The answer to one request; `None` if the bytes are no request, which ends the connection.
    fn answer(&self, role: Role, request: Bytes) -> impl Future<Output = Option<Bytes>> + Send;
    /// A stream that opened with [`OPENING_CALL`]: runs it to its end; `None` if what came is no exchange, which ends the
    /// connection.
    fn exchange(
        &self,
        role: Role,
        opening: Bytes,
        reader: FrameReader,
        writer: FrameSender,
    ) -> impl Future<Output = Option<()>> + Send;
}

/// The role that the handshake proved.
pub(crate) fn role_of(connection: &quinn::Connection) -> Role {
    let identity = connection.peer_identity();
    let chain = identity.as_ref().and_then(|it| it.downcast_ref::<Vec<CertificateDer<'static>>>());
    chain.and_then(|chain| chain.first()).map_or(Role::Client, Role::of)
}

/// Accepts connections on `endpoint` until it is closed or `stop` is called, handing each to `handle` with its role.
pub(crate) async fn accept_loop<F, H>(endpoint: Endpoint, stop: CancellationToken, tasks: Tasks, handle: F)
where
    F: Fn(Role, quinn::Connection) -> H + Clone + Send + 'static,
    H: Future<Output = ()> + Send + 'static,
{
    loop {
        let incoming = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            incoming = endpoint.quic.accept() => incoming,
        };
        let Some(incoming) = incoming else { return };
        let remote = incoming.remote_address();
        let (handle, stop, turned_away) = (handle.clone(), stop.clone(), endpoint.turned_away.clone());
        let serving = async move {
            let connection = match timeout(HANDSHAKE_TIMEOUT, incoming.into_future()).await {
                Ok(Ok(connection)) => connection,
                Ok(Err(error)) => {
                    turned_away.handshakes.increment();
                    tracing::debug!(%remote, %error, "handshake failed");
                    return;
                }
                Err(_elapsed) => {
                    turned_away.handshakes.increment();
                    return;
                }
            };
            let role = role_of(&connection);
            tokio::select! { biased; () = stop.cancelled() => {}, () = handle(role, connection) => {} }
        };
        tasks.spawn(serving.in_current_span());
    }
}

/// What serving a connection takes from the member.
#[derive(Debug, Clone)]
pub(crate) struct Serving {
    /// Where streams and exchanges run.
    pub(crate) tasks: Tasks,
    /// Where single requests are answered.
    pub(crate) answering: Tasks,
    /// How full the queues ever were.
    pub(crate) queues: Arc<Queues>,
    /// When it is called nothing more is read; answers are still written.
    pub(crate) closing: CancellationToken,
    /// Where connections are counted that are closed for what they carried.
    pub(crate) turned_away: Arc<TurnedAway>,
}

/// Serves the streams of one connection until it closes.
pub(crate) async fn serve_connection<S: Service>(
    service: Arc<S>,
    role: Role,
    connection: quinn::Connection,
    serving: Serving,
) {
    while let Ok((send, recv)) = connection.accept_bi().await {
        let (writer, writing) = frame_writer(send);
        let reader = FrameReader::new(recv);
        let (service, serving, connection) = (service.clone(), serving.clone(), connection.clone());
        let tasks = serving.tasks.clone();
        let stream = async move {
            let closing = serving.closing.clone();
            tokio::select! {
                biased;
                () = closing.cancelled() => {}
                () = serve_stream(service, role, connection, reader, writer, serving) => {}
            }
        };
        tasks.spawn(stream.in_current_span());
        tasks.spawn(writing.in_current_span());
    }
}

async fn serve_stream<S: Service>(
    service: Arc<S>,
    role: Role,
    connection: quinn::Connection,
    mut reader: FrameReader,
    writer: FrameSender,
    serving: Serving,
) {
    let permits = Arc::new(Semaphore::new(REQUESTS_PER_STREAM_MAX));
    loop {
        let frame = match reader.next().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(remote = %connection.remote_address(), %error, "stream ended");
                if matches!(error, FrameError::TooLong(_)) {
                    refuse(&connection, &serving.turned_away);
                }
                return;
            }
        };
        if frame.call == OPENING_CALL {
            if service.exchange(role, frame.body, reader, writer).await.is_none() {
                refuse(&connection, &serving.turned_away);
            }
            return;
        }
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        serving.queues.requests.note(REQUESTS_PER_STREAM_MAX - permits.available_permits());
        let (service, writer, connection) = (service.clone(), writer.clone(), connection.clone());
        let (queues, turned_away) = (serving.queues.clone(), serving.turned_away.clone());
        let answering = async move {
            let _permit = permit;
            let Some(body) = service.answer(role, frame.body).await else {
                return refuse(&connection, &turned_away);
            };
            queues.answers.note(writer.queued() + 1);
            // A closed writer means that nobody waits for the answer.
            writer.send(Frame { call: frame.call, body }).await.ok();
        };
        // Most answers need to wait for nothing, and no task of their own.
        let mut answering = Box::pin(answering);
        if poll!(&mut answering).is_pending() {
            serving.answering.spawn(answering.in_current_span());
        }
    }
}

/// Who sends what has no place here loses its connection.
pub(crate) fn refuse(connection: &quinn::Connection, turned_away: &TurnedAway) {
    // Requests may come after the one that was refused.
    if connection.close_reason().is_none() {
        turned_away.connections.increment();
        tracing::warn!(remote = %connection.remote_address(), "sent bytes that have no place here; disconnecting it");
        connection.close(1u32.into(), b"this has no place here");
    }
}
