//! `phishcnn serve`: the model over HTTP.

mod app;
mod connections;
mod legacy;
mod page;
mod problem;
mod settings;
mod urls;

use std::io;

use phishcnn_core::Error;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::ServeArgs;
use crate::failure::{Failure, Outcome, note};
use crate::model;
use connections::Drained;

pub(crate) fn run(args: &ServeArgs) -> Result<Outcome, Failure> {
    let settings = settings::check(args)?;
    let loaded = model::load(settings.model)?;
    let served = app::Served::new(loaded);
    let started = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = started.map_err(|error| internal(&error))?;
    runtime.block_on(async {
        let listener = bind(settings.listen).await?;
        let address = listener.local_addr().map_err(|error| internal(&error))?;
        let mut terminate = signal(SignalKind::terminate()).map_err(|error| internal(&error))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| internal(&error))?;
        let model = &loaded.model;
        note(&format!(
            "phishcnn {} serves {} {} ({}) on http://{address}",
            env!("CARGO_PKG_VERSION"),
            model.name(),
            model.version(),
            served.sha256
        ));
        let stop = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            note("stopping: requests under way are finished");
        };
        Ok(match connections::serve(listener, app::router(served), stop).await {
            Drained::Completely => Outcome::Ok,
            Drained::CutOff => {
                note("stopped: requests that took too long were cut off");
                Outcome::SomeInputsFailed
            }
        })
    })
}

async fn bind(listen: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(listen).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => Failure::setting(Error::AddressInUse, listen),
        _ => Failure::setting(
            Error::BadValue,
            format!("PHISHCNN_LISTEN or --listen: {listen}: {error}"),
        ),
    })
}

fn internal(error: &io::Error) -> Failure {
    Failure::Usage(format!("{}: {error}", Error::Internal))
}
