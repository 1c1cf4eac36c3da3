//! The only crate that talks to NATS: connections, streams as data, compare-and-set appends, deliveries that are
//! settled once, locks, leases and heartbeats. It must not know what a fact means, only subjects and bytes.

pub mod append;
mod batch;
pub mod connect;
mod consumed;
pub mod consumers;
pub mod delivery;
mod denials;
pub mod error;
pub mod follow;
pub mod heartbeat;
pub mod kv;
pub mod lease;
mod limits;
pub mod lock;
pub mod observer;
pub mod publish;
pub mod purge;
pub mod reach;
pub mod read;
mod refusal;
pub mod request;
pub mod server;
mod servers;
pub mod session_log;
pub mod streams;
pub mod sync;
pub mod tombstone;
pub mod trace;

pub use append::{Append, AppendError, Expect};
pub use async_nats::HeaderMap;
pub use connect::{Auth, Bus, Connect, ConnectError, Link};
pub use delivery::{Delivery, DeliveryError, Lanes, Settle, SettleError};
pub use error::ApiError;
pub use follow::{Followed, Start};
pub use limits::StreamLimits;
pub use reach::ReadScope;
pub use read::Stored;
