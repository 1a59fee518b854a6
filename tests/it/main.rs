//! The one test binary: everything that needs more than one room, or files. One module a subject.

mod config;
mod schemas;
