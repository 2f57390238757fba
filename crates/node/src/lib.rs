//! A chinwag member: coordinator, repair, transport.
