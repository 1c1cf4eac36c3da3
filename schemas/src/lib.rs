//! The contract of Lagan: resource types, events, subjects, the session state machine, plans, error codes.
//! It must not do I/O or read a clock: everything here is a value or a pure function.

pub mod catalogue;
pub mod consent;
pub mod duration;
pub mod engine;
pub mod error;
pub mod event;
pub mod fact;
pub mod forecast;
pub mod generate;
pub mod identity;
pub mod manifest;
pub mod notice;
pub mod origin;
pub mod place;
pub mod plan;
pub mod position;
pub mod request;
pub mod resource;
pub mod schedule;
pub mod session;
pub mod subject;
pub mod substitution;
pub mod tag;
