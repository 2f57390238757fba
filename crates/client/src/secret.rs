//! The cluster secret: the one thing an operator hands to every member. Owns its text form and what is derived from it.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hkdf;

/// What every secret file begins with, so that a wrong file is recognised as such.
const PREFIX: &str = "chinwag-secret-1:";

/// 256 bits of randomness that make a cluster: whoever holds them can mint members and clients.
///
/// Keys for single purposes are derived with HKDF-SHA256 (RFC 5869) and never written down.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterSecret([u8; Self::BYTES]);

/// The text is not a cluster secret. Nothing was changed; give the file that `chinwag secret new` wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is not a cluster secret: expected one line that begins with `{PREFIX}`; make one with `chinwag secret new`"
)]
pub struct SecretError;

impl ClusterSecret {
    /// Length of a secret in bytes.
    pub const BYTES: usize = 32;

    /// A secret from bytes that the caller drew from the operating system (or from a seed, in simulation).
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// A 256-bit key for one purpose, named by `label`; different labels give independent keys.
    pub fn derive(&self, label: &str) -> [u8; 32] {
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, b"chinwag").extract(&self.0);
        let mut key = [0; 32];
        secret
            .expand(&[label.as_bytes()], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut key))
            .expect("HKDF-SHA256 gives up to 8,160 bytes and is asked for 32");
        key
    }

    /// The text form, as it stands in a secret file. Anyone who reads it can join the cluster.
    pub fn expose(&self) -> String {
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl FromStr for ClusterSecret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(SecretError)?;
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_not_base64| SecretError)?;
        bytes.try_into().map(Self).map_err(|_wrong_length| SecretError)
    }
}

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_debug_hides_it() {
        let secret = ClusterSecret::from_bytes([7; 32]);
        let text = format!("{}\n", secret.expose());
        assert_eq!(text.parse(), Ok(secret.clone()));
        assert_eq!(format!("{secret:?}"), "ClusterSecret(..)");
    }

    #[test]
    fn refuses_what_is_no_secret() {
        for text in ["", "hello", "chinwag-secret-1:", "chinwag-secret-1:AAAA", "chinwag-secret-1:!!!"] {
            assert_eq!(text.parse::<ClusterSecret>(), Err(SecretError), "{text}");
        }
    }

    #[test]
    fn labels_give_independent_keys() {
        let secret = ClusterSecret::from_bytes([7; 32]);
        assert_eq!(secret.derive("ca"), secret.derive("ca"));
        assert_ne!(secret.derive("ca"), secret.derive("context"));
        assert_ne!(secret.derive("ca"), ClusterSecret::from_bytes([8; 32]).derive("ca"));
    }
}
