//! How many requests are worked on at once, and how often one client may ask.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use ipnet::IpNet;
use phishcnn_core::Error;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::interval;

use super::app::App;
use super::client;
use super::problem::Problem;
use super::settings::{Rate, ServeArgs};

/// How often clients that have all their requests back are forgotten.
const FORGET: Duration = Duration::from_secs(60);

pub(crate) struct Limits {
    work: Semaphore,
    rate: Option<DefaultKeyedRateLimiter<(IpAddr, String)>>,
}

impl Limits {
    pub(crate) fn new(settings: &ServeArgs) -> Self {
        Self {
            work: Semaphore::new(settings.max_concurrency),
            rate: settings.rate_limit.map(|rate| RateLimiter::keyed(quota(rate))),
        }
    }

    /// Leave to work on a request, the same for one URL and for many; 503 when too many are
    /// worked on.
    pub(crate) fn admit(&self) -> Result<SemaphorePermit<'_>, Problem> {
        self.work.try_acquire().map_err(|_| Error::Overloaded.into())
    }

    /// Leave to work on the next piece of a stream, as soon as there is room.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.work.acquire().await.ok()
    }

    /// Forgets clients, so that memory is bounded by those of the last minutes.
    pub(crate) async fn tidy(&self) {
        let Some(rate) = &self.rate else { return };
        let mut clock = interval(FORGET);
        loop {
            clock.tick().await;
            rate.retain_recent();
            rate.shrink_to_fit();
        }
    }
}

/// All requests at once, then one back at a time.
fn quota(rate: Rate) -> Quota {
    let one = rate.per / rate.requests.get();
    let quota = Quota::with_period(one).unwrap_or(Quota::per_second(rate.requests));
    quota.allow_burst(rate.requests)
}

/// The rate limit: each client and route counts by itself, as the Python system's did by path.
pub(crate) async fn rate_limit(
    State(app): State<&'static App>,
    request: Request,
    next: Next,
) -> Response {
    if let Some(limiter) = &app.limits.rate {
        let path = request.extensions().get::<MatchedPath>();
        let path = path.map(|path| path.as_str().to_owned()).unwrap_or_default();
        let client = network_of(client::address(&request, &app.settings.trusted_proxies));
        if let Err(not_until) = limiter.check_key(&(client, path)) {
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            return Problem::too_often(wait.as_secs() + 1).into_response();
        }
    }
    next.run(request).await
}

/// One client usually has a whole /64 of IPv6 addresses.
fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(_) => IpNet::new(address, 64).map_or(address, |net| net.network()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_client_is_its_network() {
        let net = |text: &str| network_of(text.parse().unwrap());
        assert_eq!(net("2001:db8::1"), net("2001:db8::ffff:1"));
        assert_ne!(net("2001:db8::1"), net("2001:db8:0:1::1"));
        assert_ne!(net("192.0.2.1"), net("192.0.2.2"));
    }
}
