//! Bytes of a message: a version byte, then postcard. Owns the version and the bounds; knows no message in particular.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// First byte of every message. A build refuses the messages of another version instead of misreading them.
pub const PROTOCOL_VERSION: u8 = 4;

/// Longest message accepted from the network, in bytes. Larger ones end the connection.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// The bytes are no message of this protocol. Whoever sent them is broken or of another version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Another version of the protocol.
    #[error("message has protocol version {0}, this build speaks {PROTOCOL_VERSION}")]
    Version(u8),
    /// No version byte at all.
    #[error("message is empty")]
    Empty,
    /// Not the shape that was expected.
    #[error("message is malformed: {0}")]
    Malformed(#[from] postcard::Error),
    /// Something follows the message.
    #[error("message is followed by {0} stray bytes")]
    Trailing(usize),
}

/// The bytes of `message`.
pub fn encode<T: Serialize>(message: &T) -> Bytes {
    let bytes = postcard::to_extend(message, vec![PROTOCOL_VERSION])
        .expect("messages hold no type that postcard cannot write, and a Vec grows");
    Bytes::from(bytes)
}

/// The message that `bytes` hold.
///
/// # Errors
/// [`DecodeError`] whenever `bytes` are not exactly one message of this version.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (&version, body) = bytes.split_first().ok_or(DecodeError::Empty)?;
    if version != PROTOCOL_VERSION {
        return Err(DecodeError::Version(version));
    }
    match postcard::take_from_bytes(body)? {
        (message, []) => Ok(message),
        (_, rest) => Err(DecodeError::Trailing(rest.len())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::{Request, RequestOptions, Response};

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_an_error(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            decode::<Request>(&bytes).ok();
            // Past the version byte, too.
            bytes.insert(0, PROTOCOL_VERSION);
            decode::<Request>(&bytes).ok();
            decode::<Response>(&bytes).ok();
        }

        #[test]
        fn requests_round_trip_and_damage_is_noticed(bucket: Option<String>, key: Vec<u8>, value: Option<Vec<u8>>, timeout_ms: u32) {
            let options = RequestOptions {
                timeout_ms,
                primaries: true,
                consistency: crate::Consistency::All,
                trace: Some(timeout_ms.into()),
            };
            let request =
                Request::Put { bucket, key: key.into(), value: value.map(Bytes::from), context: None, options };
            let bytes = encode(&request);
            prop_assert_eq!(decode(&bytes), Ok(request));
            prop_assert_eq!(decode::<Request>(&bytes[..bytes.len() - 1]).ok(), None);
            let longer = [&bytes[..], &[0]].concat();
            prop_assert_eq!(decode::<Request>(&longer), Err(DecodeError::Trailing(1)));
        }
    }

    #[test]
    fn other_versions_are_told_apart_from_garbage() {
        assert_eq!(decode::<Request>(&[]), Err(DecodeError::Empty));
        assert_eq!(decode::<Request>(&[9, 0]), Err(DecodeError::Version(9)));
        assert!(matches!(decode::<Request>(&[PROTOCOL_VERSION, 0xff]), Err(DecodeError::Malformed(_))));
    }
}
