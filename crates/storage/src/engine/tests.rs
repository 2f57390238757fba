//! The contract of `Engine`, held against every engine, and what only a directory on disk can get wrong.

use super::*;
use std::sync::Arc;

/// Something that holds an engine's data while it is closed and opened again.
trait Medium {
    fn open(&self) -> Arc<dyn Engine>;
}

struct Memory(std::cell::RefCell<MemoryEngine>);

impl Medium for Memory {
    fn open(&self) -> Arc<dyn Engine> {
        let engine = self.0.borrow().reopen();
        let kept = self.0.replace(MemoryEngine::new());
        drop(kept);
        let handle = engine.reopen_shared();
        self.0.replace(handle);
        Arc::new(engine)
    }
}

struct Disk(tempfile::TempDir, DiskOptions);

impl Medium for Disk {
    fn open(&self) -> Arc<dyn Engine> {
        Arc::new(DiskEngine::open(self.0.path(), self.1).unwrap())
    }
}
