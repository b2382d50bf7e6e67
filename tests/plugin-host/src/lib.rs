//! A name server as anybody would write it with hickory-server: one zone in memory, and postern's filter in front of it.
//!
//! This is the example to copy: a [`Gate`] from a `.plist` file, [`Filter::new`] around the handler that was there before, and nothing else.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_server::Server;
use hickory_server::net::runtime::TokioRuntimeProvider;
use hickory_server::proto::rr::rdata::{A, CNAME, SOA};
use hickory_server::proto::rr::{LowerName, Name, RData, Record};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use postern::plugin::{Filter, Gate};
use tokio::net::{TcpListener, UdpSocket};

/// The address that every name of the zone has.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 80);

/// The host's own handler: it answers `*.` anything below the root with [`ADDRESS`], and `alias.host.` with a CNAME to `target`.
pub fn catalog(target: &Name) -> Catalog {
    let root = Name::root();
    let host = Name::from_ascii("host.").expect("a fixed name");
    let mut zone = InMemoryZoneHandler::<TokioRuntimeProvider>::empty(root.clone(), ZoneType::Primary, AxfrPolicy::Deny, None);
    let soa = SOA::new(host.clone(), host.clone(), 1, 3600, 600, 86_400, 60);
    let wildcard = Name::from_ascii("*.").expect("a fixed name");
    let alias = Name::from_ascii("alias.host.").expect("a fixed name");
    for record in [
        Record::from_rdata(root.clone(), 60, RData::SOA(soa)),
        Record::from_rdata(wildcard, 60, RData::A(A(ADDRESS))),
        Record::from_rdata(alias, 60, RData::CNAME(CNAME(target.clone()))),
        Record::from_rdata(target.clone(), 60, RData::A(A(ADDRESS))),
    ] {
        zone.upsert_mut(record, 0);
    }
    let mut catalog = Catalog::new();
    catalog.upsert(LowerName::new(&root), vec![Arc::new(zone)]);
    catalog
}

/// Serves `catalog` behind `gate` on one loopback port, UDP and TCP.
///
/// # Errors
/// No port is free.
pub async fn serve(gate: Arc<Gate>, catalog: Catalog) -> std::io::Result<(Server<Filter<Catalog>>, SocketAddr)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let at = listener.local_addr()?;
    let mut server = Server::new(Filter::new(gate, catalog));
    server.register_socket(UdpSocket::bind(at).await?);
    server.register_listener(listener, Duration::from_secs(10), 16);
    Ok((server, at))
}
