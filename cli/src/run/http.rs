//! Serves `--listen`: /metrics for Prometheus, /healthz and /readyz for the supervisor of the process. No request may
//! change anything.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use lagan_bus::{Bus, Link};
use prometheus_client::encoding::text;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::error::{Exit, Problem};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A registry with the version of this build.
pub(super) fn registry() -> Registry {
    let mut registry = Registry::default();
    let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
    registry.sub_registry_with_prefix("lagan").register("build", "The build that runs", build);
    registry
}

/// The state behind /healthz and /readyz.
#[derive(Debug, Clone, Default)]
pub(super) struct Health {
    /// Cancelled when a part has ended unexpectedly.
    pub ended: CancellationToken,
    /// One token per part, cancelled when the part is ready.
    ready: Vec<CancellationToken>,
    links: Vec<watch::Receiver<Link>>,
}

impl Health {
    /// Adds a part and its connection; the part cancels the token when it is ready.
    pub fn part(&mut self, bus: &Bus) -> CancellationToken {
        let ready = CancellationToken::new();
        self.ready.push(ready.clone());
        self.links.push(bus.link());
        ready
    }

    fn alive(&self) -> Result<(), &'static str> {
        if self.ended.is_cancelled() { Err("a part has ended") } else { Ok(()) }
    }

    fn ready(&self) -> Result<(), &'static str> {
        self.alive()?;
        if !self.links.iter().all(|link| link.borrow().connected) {
            return Err("no connection to NATS");
        }
        if self.ready.iter().all(CancellationToken::is_cancelled) { Ok(()) } else { Err("starting") }
    }
}

/// Binds the address before anything else starts, so that a failure leaves nothing half started.
pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener, Problem> {
    TcpListener::bind(address).await.map_err(|error| {
        Problem::new(Exit::Failed, format!("--listen {address} can't be bound: {error}"))
            .help("choose another port, or stop the program that listens there")
    })
}

/// Serves until the handle is dropped.
pub(super) fn serve(listener: TcpListener, registry: Registry, health: Health) -> AbortOnDropHandle<()> {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .with_state(Arc::new(registry))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(Arc::new(health));
    AbortOnDropHandle::new(tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the server of --listen has ended");
        }
    }))
}

async fn metrics(State(registry): State<Arc<Registry>>) -> impl IntoResponse {
    let mut page = String::new();
    match text::encode(&mut page, &registry) {
        Ok(()) => (StatusCode::OK, [(header::CONTENT_TYPE, OPENMETRICS)], page).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn healthz(State(health): State<Arc<Health>>) -> impl IntoResponse {
    answer(health.alive())
}

async fn readyz(State(health): State<Arc<Health>>) -> impl IntoResponse {
    answer(health.ready())
}

fn answer(is: Result<(), &'static str>) -> (StatusCode, String) {
    match is {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}
