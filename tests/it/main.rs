//! The one test binary.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so best by ending there")]

mod cli;
mod samples;
mod serve;
mod store;
