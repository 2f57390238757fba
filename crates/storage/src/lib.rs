//! Dots, key states, clocks, hints and the engines they rest on.
