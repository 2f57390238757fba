//! The `[buckets.NAME]` tables of a member's configuration file: what can be set of a bucket, and how it is written.

use std::collections::BTreeMap;

use chinwag_node::membership::{Copies, CopiesError};
use chinwag_node::{Bucket, Buckets, BucketsError, Kind};
use serde::Deserialize;

/// What one table can say.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct BucketSettings {
    kind: Kind,
    n: Option<u8>,
    ttl: Option<String>,
    value_bytes_max: Option<usize>,
    siblings_max: Option<usize>,
}

/// A table makes no sense. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BucketSettingsError {
    #[error("[buckets.{name}]: {reason}")]
    Table { name: String, reason: String },
    #[error("[buckets.{name}]: {source}")]
    Copies { name: String, source: CopiesError },
    #[error("[buckets.{name}]: ttl {text}: {source}; give a number and a unit, e.g. 1h")]
    Ttl { name: String, text: String, source: humantime::DurationError },
    #[error(transparent)]
    Buckets(#[from] BucketsError),
}

/// The buckets that the tables stand for.
pub(crate) fn buckets(tables: &BTreeMap<String, toml::Table>) -> Result<Buckets, BucketSettingsError> {
    let bucket = |(name, table): (&String, &toml::Table)| {
        // Read one by one, so that an error names its table.
        let settings = table.clone().try_into::<BucketSettings>();
        let settings = settings.map_err(|error| BucketSettingsError::Table {
            name: name.clone(),
            reason: error.to_string().trim_end().to_owned(),
        })?;
        settings.bucket(name)
    };
    let buckets: Result<Vec<_>, _> = tables.iter().map(bucket).collect();
    Ok(Buckets::new(buckets?)?)
}

impl BucketSettings {
    fn bucket(&self, name: &str) -> Result<Bucket, BucketSettingsError> {
        let copies = |n| {
            Copies::new(n).map_err(|source| BucketSettingsError::Copies { name: name.to_owned(), source })
        };
        let ttl = |text: &String| {
            humantime::parse_duration(text).map_err(|source| BucketSettingsError::Ttl {
                name: name.to_owned(),
                text: text.clone(),
                source,
            })
        };
        Ok(Bucket {
            name: name.to_owned(),
            kind: self.kind,
            n: self.n.map(copies).transpose()?,
            ttl: self.ttl.as_ref().map(ttl).transpose()?,
            value_bytes_max: self.value_bytes_max,
            siblings_max: self.siblings_max,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct File {
        buckets: BTreeMap<String, toml::Table>,
    }

    fn read(toml: &str) -> Result<Buckets, String> {
        let file: File = toml::from_str(toml).map_err(|error| error.to_string())?;
        buckets(&file.buckets).map_err(|error| error.to_string())
    }

    #[test]
    fn a_table_is_a_bucket() {
        let toml = "[buckets.carts]\nn = 5\nttl = \"1h\"\nvalue-bytes-max = 100\nsiblings-max = 3\n[buckets.seen]\nkind = \"lww\"";
        let carts = Bucket {
            n: Some(Copies::new(5).unwrap()),
            ttl: Some(Duration::from_secs(3600)),
            value_bytes_max: Some(100),
            siblings_max: Some(3),
            ..Bucket::new("carts")
        };
        let seen = Bucket { kind: Kind::Lww, ..Bucket::new("seen") };
        assert_eq!(read(toml).unwrap(), Buckets::new([carts, seen]).unwrap());
    }

    #[test]
    fn what_makes_no_sense_names_the_table() {
        for (toml, says) in [
            ("[buckets.carts]\nn = 8", "[buckets.carts]: n, the number of copies, is 1 to 7, not 8"),
            ("[buckets.carts]\nttl = \"1\"", "[buckets.carts]: ttl 1:"),
            ("[buckets.default]\nn = 3", "[buckets.default]: the bucket that is always there"),
            ("[buckets.carts]\nkind = \"sibling\"", "[buckets.carts]: unknown variant `sibling`"),
            ("[buckets.carts]\nttl = 5", "[buckets.carts]: invalid type"),
            ("[buckets.carts]\ntll = \"1h\"", "[buckets.carts]: unknown field `tll`"),
        ] {
            let error = read(toml).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
