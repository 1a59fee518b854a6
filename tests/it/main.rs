//! The one test binary.

mod kubernetes;
