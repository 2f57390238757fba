//! SWIM membership and the ring: who is alive, and who owns what.
