//! `phishcnn serve`: the model over HTTP.
//!
//! A request's way, one file a step: [`connections`] → [`observe`] → [`app`] (routes, deadline)
//! → [`limits`] → [`body`] → a handler ([`urls`], [`stream`], [`legacy`], [`inference`],
//! [`feedback`], [`page`], [`docs`], [`admin`]) → [`engine`] → an answer or a [`problem`].

mod admin;
mod app;
mod body;
mod client;
mod connections;
mod docs;
mod drift;
mod engine;
mod feedback;
mod inference;
mod keys;
mod legacy;
mod limits;
mod log;
mod metrics;
mod observe;
mod page;
mod problem;
mod settings;
mod stream;
mod tls;
mod urls;

use std::io;

use listenfd::ListenFd;
use phishcnn_core::Error;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use app::App;
use connections::{Drained, FAREWELLS_MAX, Listener};
use phishcnn_cli::failure::{Failure, Outcome};
pub(crate) use settings::ServeArgs;

/// Open files besides connections: listeners, the store, models.
const FILES_BESIDES: usize = 64;

pub(crate) fn run(args: ServeArgs) -> Result<Outcome, Failure> {
    args.check()?;
    let settings: &'static ServeArgs = Box::leak(Box::new(args));
    log::start(settings);
    let tls = match (&settings.tls_cert, &settings.tls_key) {
        (Some(cert), Some(key)) => Some(tls::acceptor(cert, key)?),
        _ => None,
    };
    room_for_connections(settings.max_connections);
    let app = App::start(settings)?;
    let started = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = started.map_err(|error| internal(&error))?;
    runtime.block_on(async {
        let listener = |tcp, tls, routes| Listener {
            tcp,
            tls,
            routes,
            connections: app.connections,
            metrics: app.metrics.clone(),
            settings,
        };
        let scheme = if tls.is_some() { "https" } else { "http" };
        let public = listener(public_socket(settings).await?, tls, app::public(app));
        let private = match &settings.admin_listen {
            None => None,
            Some(listen) => {
                let tcp = bind("ADMIN_LISTEN", listen).await?;
                info!("metrics, probes and models on http://{}", address(&tcp)?);
                Some(listener(tcp, None, app::private(app)))
            }
        };
        let (drained, done) = watch::channel(false);
        if let Some(private) = private {
            // Probes are answered until the public connections have ended.
            let mut done = done.clone();
            tokio::spawn(private.serve(async move {
                let _ = done.changed().await;
            }));
        }
        tokio::spawn(app.limits.tidy());
        reload_on_hangup(app)?;
        let stop = stop_signal(app)?;
        let current = app.engine.current();
        let (model, sha256) = (current.loaded().model(), current.loaded().sha256());
        info!(
            "phishcnn {} serves {} {} ({sha256}) on {scheme}://{}",
            phishcnn_core::VERSION,
            model.name(),
            model.version(),
            address(&public.tcp)?
        );
        drop(current);
        let outcome = public.serve(stop).await;
        let _ = drained.send(true);
        Ok(match outcome {
            Drained::Completely => Outcome::Ok,
            Drained::CutOff => {
                warn!("stopped: requests that took too long were cut off");
                Outcome::SomeInputsFailed
            }
        })
    })
}

/// Raises the limit of open files where it is below what the connections need: many systems start
/// programs with 1024.
fn room_for_connections(connections: usize) {
    let needed = (connections + FAREWELLS_MAX + FILES_BESIDES) as u64;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|files| files >= needed) {
        return;
    }
    limit.current = Some(limit.maximum.map_or(needed, |most| most.min(needed)));
    let raised = setrlimit(Resource::Nofile, limit);
    if raised.is_err() || limit.current != Some(needed) {
        warn!("fewer open files are allowed (ulimit -n) than {connections} connections need");
    }
}

/// Ends when the service is to refuse new connections.
fn stop_signal(app: &'static App) -> Result<impl Future<Output = ()>, Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| internal(&error))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| internal(&error))?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        app.stopping();
        info!("stopping: requests under way are finished");
        sleep(app.settings.shutdown_delay).await;
    })
}

fn reload_on_hangup(app: &'static App) -> Result<(), Failure> {
    let mut hangup = signal(SignalKind::hangup()).map_err(|error| internal(&error))?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            if let Ok(exchanged) = tokio::task::spawn_blocking(|| app.engine.reload()).await {
                admin::note_exchange(&exchanged);
            }
        }
    });
    Ok(())
}

/// The socket that systemd holds for us (`LISTEN_FDS`), which outlives a restart; else our own.
async fn public_socket(settings: &ServeArgs) -> Result<TcpListener, Failure> {
    match ListenFd::from_env().take_tcp_listener(0) {
        Ok(Some(held)) => {
            held.set_nonblocking(true).map_err(|error| internal(&error))?;
            TcpListener::from_std(held).map_err(|error| internal(&error))
        }
        Ok(None) => bind("LISTEN", &settings.listen).await,
        Err(error) => Err(Failure::setting(Error::BadValue, format!("LISTEN_FDS: {error}"))),
    }
}

async fn bind(name: &str, listen: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(listen).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => Failure::setting(Error::AddressInUse, listen),
        _ => Failure::setting(Error::BadValue, format!("PHISHCNN_{name}: {listen}: {error}")),
    })
}

fn address(listener: &TcpListener) -> Result<std::net::SocketAddr, Failure> {
    listener.local_addr().map_err(|error| internal(&error))
}

fn internal(error: &io::Error) -> Failure {
    Failure::Usage(format!("{}: {error}", Error::Internal))
}
