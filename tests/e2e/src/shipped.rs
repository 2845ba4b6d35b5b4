//! The shipped files with the places of this machine in them, and nothing else changed.

use std::net::SocketAddr;

use crate::envoy::{module, Launch};

impl Launch {
    /// Free ports in the place of those of the listener and the admin interface.
    pub fn free_ports(self) -> Self {
        self.replace("port_value: 10000", "port_value: 0")
            .replace("port_value: 9901", "port_value: 0")
    }

    /// The built module.
    pub fn built_module(self) -> Self {
        let place = format!("filename: {}", module().display());
        self.replace("filename: /etc/envoy/sentry_filter.wasm", &place)
    }

    /// The upstream of every file but that of `make run`.
    pub fn upstream_at(self, upstream: SocketAddr) -> Self {
        self.replace("upstream.example, port_value: 8080", &place_of(upstream))
    }

    /// A Sentry on this machine, such as Spotlight.
    pub fn local_sentry_at(self, sentry: SocketAddr) -> Self {
        self.replace("port_value: 8969", &port(sentry))
    }

    /// The file of the tunnel, with every trace recorded.
    pub fn tunnel(sentry: SocketAddr, upstream: SocketAddr) -> Self {
        Self::shipped("envoy-tunnel.yaml")
            .free_ports()
            .upstream_at(upstream)
            .local_sentry_at(sentry)
            .replace(r#""traces_sample_rate": 0.1"#, r#""traces_sample_rate": 1"#)
            .built_module()
    }
}

/// `127.0.0.1, port_value: 80`, as an address is written in Envoy's files.
pub fn place_of(address: SocketAddr) -> String {
    format!("{}, {}", address.ip(), port(address))
}

/// `port_value: 80`.
pub fn port(address: SocketAddr) -> String {
    format!("port_value: {}", address.port())
}
