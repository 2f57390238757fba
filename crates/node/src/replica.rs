//! This member as a replica: what it answers to a coordinator, itself included.

use chinwag_membership::NodeId;
use chinwag_storage::{KeyState, ReadError, StoreKey};

use crate::core::Core;

impl Core {
    /// What this member holds of `key`, with what it keeps of it for absent primaries.
    pub(crate) fn read_here(&self, key: &StoreKey) -> Result<Option<KeyState>, ReadError> {
        let mut state = self.store.get(key)?;
        for backlog in self.store.backlogs() {
            if let Some(hinted) = self.store.hinted(backlog.target, key)? {
                state.get_or_insert_default().merge(&hinted);
            }
        }
        Ok(state)
    }

    /// Takes in `state`, or keeps it as a hint for an absent primary; returns once it is durable.
    pub(crate) async fn write_here(
        &self,
        key: &StoreKey,
        state: &KeyState,
        hint_for: Option<NodeId>,
    ) -> Result<(), String> {
        let commit = match hint_for {
            None => self.store.merge(key, state).map_err(|error| error.to_string())?.commit,
            Some(primary) => {
                let now = u64::try_from(self.clock.now().as_millis()).unwrap_or(u64::MAX);
                self.store.park(primary.0, key, state, now).map_err(|error| error.to_string())?.commit
            }
        };
        commit.await.map_err(|error| error.to_string())
    }
}
