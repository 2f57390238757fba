//! The command line: which commands there are. Each has a file of its own with its flags, its work and its words.

pub(crate) mod anti_entropy;
pub(crate) mod backup;
pub(crate) mod breach;
pub(crate) mod buckets;
pub(crate) mod check;
pub(crate) mod connection;
pub(crate) mod console;
pub(crate) mod demo;
pub(crate) mod dump;
pub(crate) mod experiment;
#[cfg(feature = "parquet")]
pub(crate) mod export;
pub(crate) mod failure;
pub(crate) mod get;
pub(crate) mod load;
pub(crate) mod members;
pub(crate) mod metrics;
pub(crate) mod node;
pub(crate) mod observe;
pub(crate) mod output;
pub(crate) mod predict;
pub(crate) mod repair;
pub(crate) mod repairs;
pub(crate) mod ring;
pub(crate) mod secret;
pub(crate) mod soak;
pub(crate) mod source;
pub(crate) mod store;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod threshold;
pub(crate) mod write;

use clap::{Parser, Subcommand};

/// A gossip-based, eventually consistent key-value cluster that measures its own staleness
#[derive(Debug, Parser)]
#[command(name = "chinwag", version, after_help = AFTER_HELP)]
#[command(max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Environment:
  CHINWAG_CONNECT  members to ask, HOST:PORT, separated by commas (--connect)
  CHINWAG_SECRET   the file with the cluster secret (--secret)
  CHINWAG_LOG      what is logged to standard error, e.g. debug or chinwag_client=trace

Exit codes:
  0  done
  1  not there: get found no value, repair could not finish with every member; an invariant of an experiment broke, a
     store has faults, a history has anomalies
  2  failed: a put or delete has changed nothing
  3  unknown: a put or delete that may or may not have been applied";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(demo::DemoCommand),
    Observe(observe::ObserveCommand),
    Soak(soak::SoakCommand),
    Check(check::CheckCommand),
    Predict(predict::PredictCommand),
    #[cfg(feature = "parquet")]
    Export(export::ExportCommand),
    Node(Box<node::NodeCommand>),
    #[command(subcommand)]
    Secret(secret::SecretCommand),
    Get(get::GetCommand),
    Put(write::PutCommand),
    Delete(write::DeleteCommand),
    Members(members::MembersCommand),
    Metrics(metrics::MetricsCommand),
    Ring(ring::RingCommand),
    Dump(dump::DumpCommand),
    Repair(repair::RepairCommand),
    #[command(subcommand)]
    AntiEntropy(anti_entropy::AntiEntropyCommand),
    Backup(backup::BackupCommand),
    Restore(backup::RestoreCommand),
    #[command(subcommand)]
    Store(store::StoreCommand),
    Console(console::ConsoleCommand),
}

impl Command {
    /// What is logged unless `CHINWAG_LOG` says otherwise.
    pub(crate) fn log_default(&self) -> &'static str {
        match self {
            // Damage is what they are about, and they tell it themselves.
            Self::Store(_) | Self::Backup(_) | Self::Restore(_) => "off",
            Self::Secret(_)
            | Self::Get(_)
            | Self::Put(_)
            | Self::Delete(_)
            | Self::Members(_)
            | Self::Metrics(_)
            | Self::Ring(_)
            | Self::Dump(_)
            | Self::Repair(_)
            | Self::AntiEntropy(_)
            | Self::Console(_) => "warn",
            // Members that crash and rejoin are what it is about: it tells in its own words.
            Self::Demo(_) | Self::Observe(_) | Self::Soak(_) | Self::Check(_) | Self::Predict(_) => "off",
            #[cfg(feature = "parquet")]
            Self::Export(_) => "off",
            Self::Node(_) => "info,fjall=warn,lsm_tree=warn",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
