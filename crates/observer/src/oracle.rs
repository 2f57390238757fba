//! Second opinions: every metric computed once more straight from its definition, slowly, on histories small enough for
//! that; and simulated stores whose truth is known. They share nothing with what they are held against.

pub(crate) mod atomicity;
