//! A certificate for one host name, and the authority that signed it.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::{json, Value};
use tokio_rustls::{
    rustls::{crypto::ring, pki_types::PrivatePkcs8KeyDer, ServerConfig},
    TlsAcceptor,
};

/// What a TLS server needs, and what its clients need to trust it.
pub struct Certificate {
    name: String,
    authority_pem: String,
    pem: String,
    key_pem: String,
    config: ServerConfig,
}

impl Certificate {
    /// Makes an authority and lets it sign for that name.
    pub fn for_name(name: &str) -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        // Without names of their own both would have rcgen's, and the server's certificate would
        // look self-signed.
        params
            .distinguished_name
            .push(DnType::CommonName, "mini_sentry authority");
        let authority_key = KeyPair::generate().expect("a key for the authority");
        let authority = params
            .self_signed(&authority_key)
            .expect("the authority's certificate");
        let issuer = Issuer::new(params, authority_key);

        let key = KeyPair::generate().expect("a key for the server");
        let mut params = CertificateParams::new([name.to_owned()]).expect("a host name");
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params
            .signed_by(&key, &issuer)
            .expect("the server's certificate");

        let provider = Arc::new(ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider's protocol versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .expect("a certificate that fits its key");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self {
            name: name.to_owned(),
            authority_pem: authority.pem(),
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            config,
        }
    }

    /// For a listener of Envoy's: its `transport_socket`, in JSON.
    pub fn transport_socket(&self) -> Value {
        let any =
            "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
        let certificate = json!({
            "certificate_chain": {"inline_string": self.pem},
            "private_key": {"inline_string": self.key_pem},
        });
        let context =
            json!({"tls_certificates": [certificate], "alpn_protocols": ["h2", "http/1.1"]});
        json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {"@type": any, "common_tls_context": context},
        })
    }

    /// For a server that offers only HTTP/1.1.
    pub fn without_http2(mut self) -> Self {
        self.config.alpn_protocols = vec![b"http/1.1".to_vec()];
        self
    }

    /// The host name that it is for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The certificate of the authority, to be trusted by a client.
    pub fn authority_pem(&self) -> &str {
        &self.authority_pem
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        Arc::new(self.config.clone()).into()
    }
}
