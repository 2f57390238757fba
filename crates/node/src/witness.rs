//! Tells an instrument when the messages of a traced request came and went. The moments are the witness's own to measure:
//! told of by several members, they compare only if all of them tell the same witness, within one process.

use std::fmt;

use chinwag_membership::NodeId;

use crate::core::Core;

/// Is told of the messages of traced requests as they come and go. It is called on the members' own tasks: it must not
/// block.
pub trait Witness: fmt::Debug + Send + Sync {
    /// Something happened just now between the coordinator of the request with this number and one replica.
    fn saw(&self, trace: u64, replica: NodeId, moment: Moment);
}

/// What happens between a coordinator and one replica, in this order. Between a coordinator and itself, where it is a
/// replica, all three do as well, with no message in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// The coordinator sends the request.
    Asked,
    /// The replica has read the key, or has the write where reads see it; it may not be durable yet.
    Served,
    /// The coordinator has the answer.
    Heard,
}

impl Core {
    /// Tells the witness, if there is one and the request is traced.
    pub(crate) fn saw(&self, trace: Option<u64>, replica: NodeId, moment: Moment) {
        if let (Some(trace), Some(witness)) = (trace, &self.witness) {
            witness.saw(trace, replica, moment);
        }
    }
}
