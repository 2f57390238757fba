//! Frames on a QUIC stream: many requests share one stream, each frame says to which call it belongs.
//!
//! ```text
//! 0        4                 12
//! ├ length ┼ call ───────────┼ body: `length` bytes ┤      numbers are little-endian
//! ```
//!
//! Frames that are ready together are written together: gathering them per wake-up is what makes requests cheap
//! (reference/performance.md section 2). Owns framing and the caller's half; answering is the member's business.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::sleep;

use crate::codec::MESSAGE_BYTES_MAX;

const HEADER_BYTES: usize = 12;
/// Most frames gathered into one write.
const GATHER_MAX: usize = 256;
/// Most frames that wait for the writer; a caller beyond it waits its turn.
pub const QUEUE_MAX: usize = 1024;

/// Frames of this call say nothing: they are sent to be acknowledged, and readers pass over them.
const NUDGE: u64 = u64::MAX;
/// How often a connection with calls under way is listened to, beyond four round trips: one on which nothing came while
/// a call waited is nudged, and given up if nothing comes for as long again. QUIC itself would wait for its backed-off
/// probe timer, which after a partition is as long as the partition was.
const SILENCE_MAX: Duration = Duration::from_millis(200);
/// No round trip is believed to be longer: a member that stood still for a while has measured its own absence.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(1);

/// One message of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Chosen by the caller, echoed in the answer.
    pub call: u64,
    /// The encoded message.
    pub body: Bytes,
}

/// The stream cannot be read further; the connection is closed or must be.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection or stream ended.
    #[error("stream ended: {0}")]
    Read(#[from] quinn::ReadError),
    /// A frame longer than [`MESSAGE_BYTES_MAX`] was announced.
    #[error("a frame of {0} bytes was announced, the limit is {MESSAGE_BYTES_MAX}")]
    TooLong(usize),
}

/// Reads frames from a stream.
#[derive(Debug)]
pub struct FrameReader {
    stream: quinn::RecvStream,
    buffer: BytesMut,
}

impl FrameReader {
    /// A reader at the start of `stream`.
    pub fn new(stream: quinn::RecvStream) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// The next frame, or `None` at the end of the stream. Cancel-safe: a dropped call loses nothing.
    ///
    /// # Errors
    /// [`FrameError`] when the stream broke or a frame is too long.
    pub async fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        const CHUNK_BYTES_MAX: usize = 1 << 20;
        loop {
            if let Some(frame) = split_frame(&mut self.buffer)? {
                if frame.call == NUDGE {
                    continue;
                }
                return Ok(Some(frame));
            }
            match self.stream.read_chunk(CHUNK_BYTES_MAX, true).await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk.bytes),
                None => return Ok(None),
            }
        }
    }
}

/// Takes one whole frame off the front of `buffer`, if there is one.
fn split_frame(buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
    let Some(mut header) = buffer.get(..HEADER_BYTES) else { return Ok(None) };
    let length = usize::try_from(header.get_u32_le()).unwrap_or(usize::MAX);
    let call = header.get_u64_le();
    if length > MESSAGE_BYTES_MAX {
        return Err(FrameError::TooLong(length));
    }
    if buffer.len() < HEADER_BYTES + length {
        return Ok(None);
    }
    buffer.advance(HEADER_BYTES);
    Ok(Some(Frame { call, body: buffer.split_to(length).freeze() }))
}

/// Where frames are handed in to be written.
#[derive(Debug, Clone)]
pub struct FrameSender(mpsc::Sender<Frame>);

/// The stream's writer has stopped: the frame was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream is closed")]
pub struct Closed;

impl FrameSender {
    /// Queues `frame`; waits while the queue is full.
    ///
    /// # Errors
    /// [`Closed`] if the frame will not be sent.
    pub async fn send(&self, frame: Frame) -> Result<(), Closed> {
        self.0.send(frame).await.map_err(|_closed| Closed)
    }

    /// How many frames wait for the writer, [`QUEUE_MAX`] at most.
    pub fn queued(&self) -> usize {
        self.0.max_capacity() - self.0.capacity()
    }
}

/// A queue of frames for `stream` and the future that writes them, which ends when all senders are gone or the stream is.
pub fn frame_writer(stream: quinn::SendStream) -> (FrameSender, impl Future<Output = ()> + Send + 'static) {
    let (sender, queue) = mpsc::channel(QUEUE_MAX);
    (FrameSender(sender), write_frames(stream, queue))
}

async fn write_frames(mut stream: quinn::SendStream, mut queue: mpsc::Receiver<Frame>) {
    let mut gathered = Vec::with_capacity(GATHER_MAX);
    let mut bytes = BytesMut::new();
    while queue.recv_many(&mut gathered, GATHER_MAX).await > 0 {
        for frame in gathered.drain(..) {
            let length =
                u32::try_from(frame.body.len()).expect("a message is at most MESSAGE_BYTES_MAX long");
            bytes.put_u32_le(length);
            bytes.put_u64_le(frame.call);
            bytes.extend_from_slice(&frame.body);
        }
        if let Err(error) = stream.write_chunk(bytes.split().freeze()).await {
            tracing::debug!(%error, "stream cannot be written");
            return;
        }
    }
    // An error here means the stream is gone already, which is what finishing asks for.
    stream.finish().ok();
}

/// A call got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The stream was closed before the request went out: nothing happened, another connection may be tried.
    #[error("the connection was closed before the request was sent")]
    NotSent,
    /// The stream broke after the request went out: it may have been carried out.
    #[error("the connection was lost before the answer came")]
    Lost,
    /// The request is longer than [`MESSAGE_BYTES_MAX`]: nothing was sent.
    #[error("the request is larger than {MESSAGE_BYTES_MAX} bytes")]
    TooLong,
}

/// The caller's half of a stream: any number of calls at once, answered in any order.
#[derive(Debug, Clone)]
pub struct Caller {
    frames: FrameSender,
    calls: Arc<Calls>,
}

/// The calls of one stream.
#[derive(Debug, Default)]
struct Calls {
    pending: Mutex<Pending>,
    /// A call was made when there was none.
    busy: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    closed: bool,
    last_call: u64,
    waiting: BTreeMap<u64, oneshot::Sender<Bytes>>,
}

impl Caller {
    /// A caller on a stream of `connection` just opened, and the future that moves its bytes. If nothing comes on the
    /// connection for about half a second while a call waits, although it was nudged, the other end is gone or no packet
    /// gets through: the connection is closed.
    ///
    /// The future must be polled (spawned) by the owner; it ends when the stream does or when every clone of the
    /// caller is dropped.
    pub fn new(
        connection: quinn::Connection,
        send: quinn::SendStream,
        recv: quinn::RecvStream,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (frames, writer) = frame_writer(send);
        let calls = Arc::new(Calls::default());
        // Weak, as the writer ends when the last caller is dropped.
        let nudges = frames.0.downgrade();
        let driven = calls.clone();
        let driver = async move {
            // The writer's end alone (all callers gone) also ends the reader: nobody is left to wait.
            tokio::select! {
                biased;
                () = writer => {}
                () = read_answers(recv, &driven) => {}
                () = silence(&connection, &driven, &nudges) => connection.close(0u32.into(), b"silent"),
            }
            let mut pending = driven.lock();
            pending.closed = true;
            pending.waiting.clear();
        };
        (Self { frames, calls }, driver)
    }

    /// Sends one request and waits for its answer. Dropping the future forgets the call.
    ///
    /// # Errors
    /// [`CallError`] says whether the request may have been carried out.
    pub async fn call(&self, body: Bytes) -> Result<Bytes, CallError> {
        if body.len() > MESSAGE_BYTES_MAX {
            return Err(CallError::TooLong);
        }
        let (sender, answer) = oneshot::channel();
        let call = self.calls.add(sender)?;
        let _forget = Forget { caller: self, call };
        self.frames.send(Frame { call, body }).await.map_err(|Closed| CallError::NotSent)?;
        answer.await.map_err(|_dropped| CallError::Lost)
    }

    /// How many requests wait to be written, [`QUEUE_MAX`] at most.
    pub fn queued(&self) -> usize {
        self.frames.queued()
    }

    /// Whether both are clones of one caller.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.calls, &other.calls)
    }

    /// Whether the stream has ended: calls will fail with [`CallError::NotSent`].
    pub fn is_closed(&self) -> bool {
        self.calls.lock().closed
    }
}

impl Calls {
    /// A number for a call whose answer goes to `sender`.
    fn add(&self, sender: oneshot::Sender<Bytes>) -> Result<u64, CallError> {
        let mut pending = self.lock();
        if pending.closed {
            return Err(CallError::NotSent);
        }
        if pending.waiting.is_empty() {
            self.busy.notify_one();
        }
        pending.last_call += 1;
        let call = pending.last_call;
        pending.waiting.insert(call, sender);
        Ok(call)
    }

    /// A poisoned lock is a panic elsewhere that already ends the process or the test; the map itself is never
    /// half-changed.
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes a call that nobody waits for any more.
struct Forget<'a> {
    caller: &'a Caller,
    call: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.caller.calls.lock().waiting.remove(&self.call);
    }
}

async fn read_answers(stream: quinn::RecvStream, calls: &Calls) {
    let mut reader = FrameReader::new(stream);
    loop {
        match reader.next().await {
            Ok(Some(Frame { call, body })) => {
                let waiting = calls.lock().waiting.remove(&call);
                // Nobody waits for the answer of a call that timed out.
                if let Some(sender) = waiting {
                    sender.send(body).ok();
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "stream cannot be read");
                return;
            }
        }
    }
}

/// Returns once nothing has come on `connection` for a while, although a call waited all the time and it was nudged.
async fn silence(connection: &quinn::Connection, calls: &Calls, nudges: &mpsc::WeakSender<Frame>) {
    let heard = || connection.stats().udp_rx.datagrams;
    let mut nudged = false;
    loop {
        while calls.lock().waiting.is_empty() {
            nudged = false;
            calls.busy.notified().await;
        }
        let (before, last_call) = (heard(), calls.lock().last_call);
        sleep(SILENCE_MAX + 4 * connection.rtt().min(ROUND_TRIP_MAX)).await;
        let waited = calls.lock().waiting.first_key_value().is_some_and(|(&call, _)| call <= last_call);
        if !waited || heard() != before {
            nudged = false;
        } else if nudged {
            return;
        } else {
            nudged = true;
            // A full queue means that nothing has left for long: no nudge is needed.
            if let Some(frames) = nudges.upgrade() {
                frames.try_send(Frame { call: NUDGE, body: Bytes::new() }).ok();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(call: u64, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.put_u32_le(u32::try_from(body.len()).unwrap());
        bytes.put_u64_le(call);
        bytes.put_slice(body);
        bytes
    }

    #[test]
    fn frames_are_split_wherever_the_stream_was_cut() {
        let bytes = [framed(7, b"first"), framed(8, b""), framed(9, b"third")].concat();
        for cut in 0..bytes.len() {
            let mut buffer = BytesMut::new();
            let mut calls = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                buffer.extend_from_slice(part);
                while let Some(frame) = split_frame(&mut buffer).unwrap() {
                    calls.push((frame.call, frame.body));
                }
            }
            let expected: [(u64, &[u8]); 3] = [(7, b"first"), (8, b""), (9, b"third")];
            assert_eq!(calls.iter().map(|(call, body)| (*call, &body[..])).collect::<Vec<_>>(), expected);
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn announced_giants_are_refused_before_they_are_buffered() {
        let mut buffer = BytesMut::new();
        buffer.put_u32_le(u32::MAX);
        buffer.put_u64_le(1);
        assert!(matches!(split_frame(&mut buffer), Err(FrameError::TooLong(_))));
    }
}
