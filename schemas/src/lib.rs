//! The contract of Lagan: resource types, events, subjects, the session state machine, plans, error codes.
//! No I/O, no clock, no clients: everything here is a value or a function over values.

pub mod catalogue;
pub mod error;
pub mod event;
pub mod fact;
pub mod generate;
pub mod identity;
pub mod manifest;
pub mod plan;
pub mod request;
pub mod resource;
pub mod schedule;
pub mod session;
pub mod subject;
pub mod substitution;
