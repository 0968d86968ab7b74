//! Accepts connections and, at the end, lets them finish.

use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

/// A connection that sends no complete request head for so long is closed. This ends idle
/// kept-alive connections too, so it is longer than the 60 seconds for which proxies usually keep
/// theirs: closing first would fail the request that a proxy just sends.
const HEADER_DEADLINE: Duration = Duration::from_secs(75);

/// What requests under way get after the signal to stop. Less than the 30 seconds that Kubernetes
/// waits before it kills.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(10);

/// How the connections ended.
pub(crate) enum Drained {
    Completely,
    CutOff,
}

/// Serves until `stop`. From then on new connections are refused, which is also how a readiness
/// probe learns of it.
pub(crate) async fn serve(
    listener: TcpListener,
    app: Router,
    stop: impl Future<Output = ()>,
) -> Drained {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_DEADLINE);
    let graceful = GracefulShutdown::new();
    tokio::pin!(stop);
    loop {
        let stream = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => {
                    // Out of file descriptors, most likely: the connections there are must end first.
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        // Answers are small and complete: waiting to fill packets only delays them.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(app.clone());
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // An error here is the client's: it went away, or spoke no HTTP.
            let _ = connection.await;
        });
    }
    drop(listener);
    match timeout(SHUTDOWN_DEADLINE, graceful.shutdown()).await {
        Ok(()) => Drained::Completely,
        Err(_) => Drained::CutOff,
    }
}
