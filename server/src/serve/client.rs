//! Who asks: the peer, or whom a trusted proxy names.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::http::{Extensions, HeaderMap, Request};
use ipnet::IpNet;

use super::connections::Connection;

/// The client's address. `X-Forwarded-For` is read from its end for as long as the address that
/// vouches for it belongs to a trusted proxy; what an untrusted client writes there is ignored.
pub(crate) fn address<B>(request: &Request<B>, trusted: &[IpNet]) -> IpAddr {
    address_of(request.extensions(), request.headers(), trusted)
}

pub(crate) fn address_of(
    extensions: &Extensions,
    headers: &HeaderMap,
    trusted: &[IpNet],
) -> IpAddr {
    let peer = extensions.get::<Arc<Connection>>().map(|connection| connection.peer.ip());
    let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let lines: Vec<_> =
        headers.get_all("x-forwarded-for").iter().filter_map(|line| line.to_str().ok()).collect();
    forwarded(peer, &lines.join(","), trusted)
}

fn forwarded(peer: IpAddr, forwarded_for: &str, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let mut client = peer.to_canonical();
    for hop in forwarded_for.rsplit(',') {
        if !is_trusted(&client) {
            break;
        }
        match parse(hop.trim()) {
            Some(address) => client = address,
            None => break,
        }
    }
    client
}

/// An address with or without a port.
fn parse(hop: &str) -> Option<IpAddr> {
    let with_port = || hop.parse().ok().map(|socket: std::net::SocketAddr| socket.ip());
    let bare = hop.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        for (peer, header, expected) in [
            ("192.0.2.9", "198.51.100.1", "192.0.2.9"),
            ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", "203.0.113.7, 198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", "198.51.100.1, 10.2.3.4", "198.51.100.1"),
            ("10.0.0.1", "198.51.100.1:5000", "198.51.100.1"),
            ("::1", "[2001:db8::1]:5000", "2001:db8::1"),
            ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", "", "10.0.0.1"),
            ("10.0.0.1", "unknown", "10.0.0.1"),
            ("10.0.0.1", "evil, 10.0.0.2", "10.0.0.2"),
        ] {
            let got = forwarded(peer.parse().unwrap(), header, &trusted);
            assert_eq!(got, expected.parse::<IpAddr>().unwrap(), "{peer} {header}");
        }
        assert_eq!(forwarded("10.0.0.1".parse().unwrap(), "1.2.3.4", &[]).to_string(), "10.0.0.1");
    }
}
