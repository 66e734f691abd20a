//! A container's endpoints in bridge networks, by netlink: the bridge on the host, a pair of
//! interfaces, addresses and routes in the container. Runs in the helper, which has one thread and
//! may change its network namespace.

use crate::spec::{Endpoint, MacAddress};
use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::{Handle, LinkBridge, LinkUnspec, LinkVeth, RouteMessageBuilder, new_connection};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

/// Connects a container whose first process is `pid` to its endpoints. Without endpoints, at least
/// its loopback works.
pub(super) fn attach(pid: i32, endpoints: &[Endpoint], first: usize) -> Result<()> {
    run(async |handle| {
        for endpoint in endpoints {
            let bridge = ensure_bridge(&handle, endpoint).await?;
            make_pair(&handle, endpoint, bridge, pid)
                .await
                .with_context(|| format!("connecting to network {}", endpoint.network))?;
        }
        Ok(())
    })?;
    enter(pid)?;
    run(async |handle| {
        let loopback = index_of(&handle, "lo").await?;
        set_up(&handle, loopback).await.context("bringing lo up")?;
        let mut has_route = first > 0;
        for (number, endpoint) in endpoints.iter().enumerate() {
            let name = format!("eth{}", first + number);
            configure(&handle, endpoint, &name, &mut has_route)
                .await
                .with_context(|| format!("configuring {name} in network {}", endpoint.network))?;
        }
        Ok(())
    })
}

/// Takes a container's interface away; the other end is in the host.
pub(super) fn detach(endpoint: &Endpoint) -> Result<()> {
    run(async |handle| {
        let index = index_of(&handle, &host_end(endpoint)).await?;
        handle.link().del(index).execute().await.context("removing the interface")
    })
}

/// How many interfaces named `eth…` a container has.
pub(super) fn count_interfaces(pid: i32) -> usize {
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    table.lines().filter(|line| line.trim_start().starts_with("eth")).count()
}

fn run(work: impl AsyncFnOnce(Handle) -> Result<()>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = new_connection().context("opening netlink")?;
        tokio::spawn(connection);
        work(handle).await
    })
}

fn enter(pid: i32) -> Result<()> {
    let namespace = File::open(format!("/proc/{pid}/ns/net"))
        .context("opening the container's network namespace")?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .context("entering the container's network namespace")
}

/// Named as Docker names them: clients of DHCP and network managers leave `veth*` alone.
fn host_end(endpoint: &Endpoint) -> String {
    format!("veth{}", endpoint.endpoint_id.get(..10).unwrap_or(&endpoint.endpoint_id))
}

fn other_end(endpoint: &Endpoint) -> String {
    format!("vethc{}", endpoint.endpoint_id.get(..10).unwrap_or(&endpoint.endpoint_id))
}

async fn find(handle: &Handle, name: &str) -> Result<Option<LinkMessage>> {
    let mut links = handle.link().get().match_name(name.to_owned()).execute();
    match links.try_next().await {
        Ok(link) => Ok(link),
        Err(rtnetlink::Error::NetlinkError(error))
            if error.raw_code().abs() == rustix::io::Errno::NODEV.raw_os_error() =>
        {
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("looking for {name}")),
    }
}

async fn index_of(handle: &Handle, name: &str) -> Result<u32> {
    Ok(find(handle, name).await?.with_context(|| format!("no interface {name}"))?.header.index)
}

async fn set_up(handle: &Handle, index: u32) -> Result<()> {
    Ok(handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await?)
}

/// The network's bridge, made if missing: networks are kept over a boot, interfaces are not.
async fn ensure_bridge(handle: &Handle, endpoint: &Endpoint) -> Result<u32> {
    let name = endpoint.bridge.as_str();
    if let Some(link) = find(handle, name).await? {
        add_gateway_v6(handle, endpoint, link.header.index).await?;
        return Ok(link.header.index);
    }
    let made = handle.link().add(LinkBridge::new(name).build()).execute().await;
    // Another helper may have been quicker.
    let index = index_of(handle, name)
        .await
        .with_context(|| format!("creating bridge {name}: {made:?}"))?;
    let added =
        handle.address().add(index, endpoint.gateway.into(), endpoint.prefix).execute().await;
    if made.is_ok() {
        added.with_context(|| format!("setting the address of {name}"))?;
    }
    add_gateway_v6(handle, endpoint, index).await?;
    set_up(handle, index).await?;
    Ok(index)
}

/// The bridge's own IPv6 address. It may have it already.
async fn add_gateway_v6(handle: &Handle, endpoint: &Endpoint, index: u32) -> Result<()> {
    let Some(v6) = &endpoint.v6 else { return Ok(()) };
    allow_v6(&endpoint.bridge)?;
    let added = handle.address().add(index, v6.gateway.into(), v6.prefix).execute().await;
    match added {
        Err(rtnetlink::Error::NetlinkError(error))
            if error.raw_code().abs() == rustix::io::Errno::EXIST.raw_os_error() =>
        {
            Ok(())
        }
        other => other.with_context(|| format!("giving {} its IPv6 address", endpoint.bridge)),
    }
}

/// An interface takes IPv6 addresses, and uses them at once: the engine gives them, so that no
/// other host of the bridge has the same.
fn allow_v6(name: &str) -> Result<()> {
    for (setting, value) in [("disable_ipv6", "0"), ("accept_dad", "0")] {
        let file = format!("/proc/sys/net/ipv6/conf/{name}/{setting}");
        std::fs::write(&file, value).with_context(|| format!("writing {file}"))?;
    }
    Ok(())
}

async fn make_pair(handle: &Handle, endpoint: &Endpoint, bridge: u32, pid: i32) -> Result<()> {
    let (host, other) = (host_end(endpoint), other_end(endpoint));
    if let Some(stale) = find(handle, &host).await? {
        // A container that was killed a moment ago: the kernel has not taken its network apart yet.
        handle.link().del(stale.header.index).execute().await?;
    }
    handle
        .link()
        .add(LinkVeth::new(&host, &other).build())
        .execute()
        .await
        .context("creating a veth pair")?;
    let index = index_of(handle, &other).await?;
    let moved = LinkUnspec::new_with_index(index).setns_by_pid(pid.unsigned_abs()).build();
    handle.link().set(moved).execute().await.context("moving an interface into the container")?;
    let index = index_of(handle, &host).await?;
    let set = LinkUnspec::new_with_index(index).controller(bridge).up().build();
    handle.link().set(set).execute().await.context("attaching an interface to the bridge")
}

async fn configure(
    handle: &Handle,
    endpoint: &Endpoint,
    name: &str,
    has_route: &mut bool,
) -> Result<()> {
    let index = index_of(handle, &other_end(endpoint)).await?;
    let mut link = LinkUnspec::new_with_index(index).name(name.to_owned());
    if endpoint.mac != MacAddress::default() {
        link = link.address(endpoint.mac.0.to_vec());
    }
    if endpoint.mtu > 0 {
        link = link.mtu(endpoint.mtu);
    }
    handle.link().set(link.build()).execute().await.context("setting its name")?;
    let address = endpoint.address.into();
    handle
        .address()
        .add(index, address, endpoint.prefix)
        .execute()
        .await
        .context("setting its address")?;
    if let Some(v6) = &endpoint.v6 {
        allow_v6(name)?;
        let added = handle.address().add(index, v6.address.into(), v6.prefix).execute().await;
        added.context("setting its IPv6 address")?;
    }
    set_up(handle, index).await.context("bringing it up")?;
    if !*has_route && !endpoint.internal {
        if let Some(v6) = &endpoint.v6 {
            let route = RouteMessageBuilder::<Ipv6Addr>::new().gateway(v6.gateway).build();
            handle.route().add(route).execute().await.context("adding its IPv6 default route")?;
        }
        let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(endpoint.gateway).build();
        handle.route().add(route).execute().await.context("adding its default route")?;
        *has_route = true;
    }
    Ok(())
}
