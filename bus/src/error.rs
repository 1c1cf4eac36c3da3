//! Errors of the JetStream API, and the function that sends requests to it.
//! It decides nothing: callers know what a code means to them.

use async_nats::jetstream::context::RequestErrorKind;
use async_nats::jetstream::response::Response;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::connect::Bus;

/// Error codes of the server that Lagan distinguishes.
pub(crate) mod code {
    /// The NATS cluster has no meta leader, for example while it starts.
    pub const TEMPORARILY_UNAVAILABLE: u64 = 10008;
    pub const CONSUMER_NOT_FOUND: u64 = 10014;
    pub const INSUFFICIENT_RESOURCES: u64 = 10023;
    pub const ACCOUNT_RESOURCES: u64 = 10002;
    pub const NO_MESSAGE: u64 = 10037;
    pub const NOT_ENABLED_FOR_ACCOUNT: u64 = 10039;
    pub const STORAGE_RESOURCES: u64 = 10047;
    pub const MEMORY_RESOURCES: u64 = 10028;
    pub const MESSAGE_TOO_LARGE: u64 = 10054;
    pub const NAME_IN_USE: u64 = 10058;
    pub const STREAM_NOT_FOUND: u64 = 10059;
    pub const SUBJECT_OVERLAP: u64 = 10065;
    pub const WRONG_LAST_SEQUENCE: u64 = 10071;
    pub const NOT_ENABLED: u64 = 10076;
    pub const STORE_FAILED: u64 = 10077;
    pub const STREAM_BYTES: u64 = 10122;
    pub const CONSUMER_EXISTS: u64 = 10148;
    pub const CONSUMER_IN_USE: u64 = 10013;
    /// A replicated stream answers this to a message that is sent again while its first copy waits for the followers.
    pub const DUPLICATE_IN_PROCESS: u64 = 10158;
    /// A replicated stream answers this while another write to the subject is in flight.
    pub const WRONG_LAST_SEQUENCE_CONSTANT: u64 = 10164;
}

#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    #[error("not connected to NATS")]
    NotConnected,
    #[error("JetStream did not answer in time")]
    TimedOut,
    #[error("nothing answers on the JetStream API: it is starting, or it is off")]
    NoResponders,
    #[error("JetStream refused the request")]
    Refused {
        code: u64,
        #[source]
        answer: async_nats::jetstream::Error,
    },
    /// The server says so on the connection and answers nothing.
    #[error(
        "the NATS user of this process may not publish to this subject; give it the permission (deploy/nats has those of each role)"
    )]
    Denied,
    #[error("request to JetStream failed")]
    Request(#[source] async_nats::Error),
}

impl ApiError {
    /// Returns the server's error code if the server refused the request.
    #[must_use]
    pub fn code(&self) -> Option<u64> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Returns whether the same request may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused { code, .. } => *code == code::TEMPORARILY_UNAVAILABLE,
            Self::Denied => false,
            Self::NotConnected | Self::TimedOut | Self::NoResponders | Self::Request(_) => true,
        }
    }

    /// Returns whether no leader answered. A server that is cut off from the others of its cluster answers nothing at first, and
    /// says that JetStream is temporarily unavailable when it misses them.
    pub(crate) fn is_silence(&self) -> bool {
        matches!(self, Self::TimedOut | Self::NoResponders | Self::Refused { code: code::TEMPORARILY_UNAVAILABLE, .. })
    }
}

impl From<async_nats::jetstream::Error> for ApiError {
    fn from(answer: async_nats::jetstream::Error) -> Self {
        Self::Refused { code: answer.error_code().0, answer }
    }
}

/// A request without content. The server accepts `{}` but not the `null` that a unit becomes.
#[derive(Serialize)]
pub(crate) struct EmptyRequest {}

/// Sends one request to the JetStream API. While disconnected it fails at once instead of queueing.
pub(crate) async fn api<T: DeserializeOwned>(
    bus: &Bus,
    subject: String,
    payload: &(impl Serialize + Sync),
) -> Result<T, ApiError> {
    if !bus.is_connected() {
        return Err(ApiError::NotConnected);
    }
    let asked = Instant::now();
    let answer = match bus.context().request(subject, payload).await {
        Ok(Response::Ok(answer)) => Ok(answer),
        Ok(Response::Err { error }) => Err(error.into()),
        Err(error) => Err(match error.kind() {
            RequestErrorKind::TimedOut => ApiError::TimedOut,
            RequestErrorKind::NoResponders => ApiError::NoResponders,
            RequestErrorKind::InvalidSubject | RequestErrorKind::Other => ApiError::Request(error.into()),
        }),
    };
    // An answer proves nothing: a server that is cut off from the others still answers some requests.
    if let Err(error) = &answer
        && error.is_silence()
    {
        bus.note_silence(asked);
    }
    answer
}
