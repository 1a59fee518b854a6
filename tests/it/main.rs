//! The one test binary.

mod samples;
mod store;
