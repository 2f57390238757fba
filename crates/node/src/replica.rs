//! This member as a replica: what it answers to a coordinator, itself included.

use chinwag_membership::NodeId;
use chinwag_storage::{KeyState, ParkError, ReadError, StoreKey};

use crate::core::Core;
use crate::witness::Moment;

impl Core {
    /// What this member knows of `key`, with what it keeps of it for absent primaries. If it holds nothing, the state has
    /// no siblings, and a context of all that it has seen the end of.
    pub(crate) fn read_here(&self, key: &StoreKey, trace: Option<u64>) -> Result<KeyState, ReadError> {
        let state = self.known_of(key)?;
        self.saw(trace, self.me, Moment::Served);
        Ok(state)
    }

    fn known_of(&self, key: &StoreKey) -> Result<KeyState, ReadError> {
        let mut hinted = KeyState::default();
        for backlog in self.store.backlogs() {
            if let Some(state) = self.store.hinted(backlog.target, key)? {
                hinted.merge(&state);
            }
        }
        if hinted.siblings().is_empty() {
            return self.store.read(key);
        }
        if let Some(state) = self.store.get(key)? {
            hinted.merge(&state);
        }
        Ok(hinted)
    }

    /// Takes in `state`, or keeps it as a hint for an absent primary; returns once it is durable. Refuses one whose stamp
    /// is too far ahead of this member's clock.
    pub(crate) async fn write_here(
        &self,
        key: &StoreKey,
        state: &KeyState,
        hint_for: Option<NodeId>,
        trace: Option<u64>,
    ) -> Result<(), String> {
        if let Some(stamp) = state.stamp() {
            self.stamps.take(stamp, self.now()).map_err(|error| error.to_string())?;
        }
        let commit = match hint_for {
            None => self.store.merge(key, state).map_err(|error| error.to_string())?.commit,
            Some(primary) => {
                let parked = self.store.park(primary.0, key, state, self.now());
                if let Err(ParkError::Quota { .. }) = parked {
                    self.owes(primary);
                }
                parked.map_err(|error| error.to_string())?.commit
            }
        };
        self.saw(trace, self.me, Moment::Served);
        commit.await.map_err(|error| error.to_string())
    }
}
