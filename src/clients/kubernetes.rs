//! Wires to the Kubernetes API: one to each control plane's own server, and one to the kubeconfig's.
//!
//! Every call has a deadline and none is retried in here: kube's own retries would hide a disruption budget's refusal
//! for 20 s. Credentials stay inside kube's types; nothing here prints a configuration, only addresses.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::Status;
use tower::{BoxError, Layer, Service};

use crate::model::{Failure, FailureKind, NodeName};

/// How long a TCP and TLS connection may take: a node that is off never answers at all.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// How long the first byte of any answer may take, a watch's included. Callers have shorter deadlines of their own;
/// this one is for calls that are made inside kube-runtime. Admission webhooks may take 10 s, their default.
const ANSWER_LIMIT: Duration = Duration::from_secs(12);
/// How long a connection may be silent in the middle of an answer. Longer than a quiet watch, which its server ends
/// after [`WATCH_LIMIT`].
const SILENCE_LIMIT: Duration = Duration::from_secs(45);
/// How long one watch request lasts. A connection that died without a word is noticed 5 s later.
pub const WATCH_LIMIT: Duration = Duration::from_secs(30);
/// The name that every API server's certificate carries (k3s, kubeadm and kube-apiserver's own alike), whatever name
/// or address the inventory knows its host by. The cluster's CA says that it is one of its servers.
const SERVER_NAME: &str = "kubernetes.default.svc";

/// Which API server a wire leads to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Server {
    /// The address in the kubeconfig, where it is none of the inventory's: a load balancer, say.
    Kubeconfig,
    /// A control plane's own server.
    Node(NodeName),
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Server::Kubeconfig => f.pad("the kubeconfig's server"),
            Server::Node(node) => f.pad(node.as_str()),
        }
    }
}

/// A way to one API server.
#[derive(Clone)]
pub struct Wire {
    /// Which.
    pub server: Server,
    /// kube's client; clones share its connections.
    pub client: kube::Client,
}

/// The ways to the cluster's API servers.
#[derive(Clone)]
pub struct Wires {
    /// The one the kubeconfig names: preferred while it is ready.
    pub preferred: Server,
    /// All of them.
    pub all: BTreeMap<Server, Wire>,
}

/// Where wires come from: a kubeconfig, or a test.
pub trait Source: Send + Sync + 'static {
    /// Makes the wires anew.
    fn load(&self) -> BoxFuture<'_, Result<Wires, LoadError>>;
    /// Differs whenever `load` may give something else.
    fn version(&self) -> String;
}

/// Why there are no wires.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is missing, unreadable or not a kubeconfig.
    #[error("read kubeconfig {path}", path = .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<kube::config::KubeconfigError>,
    },
    /// A host of the inventory is no host of a URL.
    #[error("make the API server's address of {host:?}")]
    Address {
        /// The host.
        host: String,
        /// What is wrong with it.
        source: http::Error,
    },
    /// The credentials or the CA cannot be used.
    #[error("make a client of kubeconfig {path}", path = .path.display())]
    Client {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<kube::Error>,
    },
}

impl LoadError {
    /// The failure that a reading shows.
    pub fn failure(&self) -> Failure {
        Failure::new(FailureKind::Other, format!("failed to {}", chain(self)))
    }
}

/// The kubeconfig and the hosts of the control planes.
pub struct KubeconfigSource {
    /// Where the kubeconfig is.
    pub path: PathBuf,
    /// Host of each control plane.
    pub hosts: BTreeMap<NodeName, String>,
    /// Counts what is asked.
    pub requests: Requests,
}

impl Source for KubeconfigSource {
    fn load(&self) -> BoxFuture<'_, Result<Wires, LoadError>> {
        Box::pin(load(&self.path, &self.hosts, &self.requests))
    }

    fn version(&self) -> String {
        // A changed file has another inode or time; a missing one is a version too.
        match std::fs::metadata(&self.path) {
            Ok(data) => {
                use std::os::unix::fs::MetadataExt;
                format!("{}:{}:{}.{}", data.ino(), data.len(), data.mtime(), data.mtime_nsec())
            }
            Err(error) => error.kind().to_string(),
        }
    }
}

/// Makes one client a control plane, with the kubeconfig's credentials and CA, and the kubeconfig's own.
async fn load(path: &Path, hosts: &BTreeMap<NodeName, String>, requests: &Requests) -> Result<Wires, LoadError> {
    let read = |source| LoadError::Read { path: path.to_owned(), source: Box::new(source) };
    let kubeconfig = Kubeconfig::read_from(path).map_err(read)?;
    let has_proxy = kubeconfig.clusters.iter().any(|named| {
        named.cluster.as_ref().is_some_and(|cluster| cluster.proxy_url.as_ref().is_some_and(|url| !url.is_empty()))
    });
    let mut base =
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(read)?;
    base.default_retry = false;
    base.connect_timeout = Some(CONNECT_LIMIT);
    base.read_timeout = Some(SILENCE_LIMIT);
    base.reset_reader_on_write = true;
    if !has_proxy {
        // kube also takes HTTPS_PROXY of the environment, which is meant for the internet and not for the nodes.
        base.proxy_url = None;
    }
    base.headers
        .push((http::header::USER_AGENT, HeaderValue::from_static(concat!("hecate/", env!("CARGO_PKG_VERSION")))));

    let connect = |server: Server, config: kube::Config| {
        let client = |source| LoadError::Client { path: path.to_owned(), source: Box::new(source) };
        let builder = ClientBuilder::try_from(config).map_err(client)?;
        Ok::<_, LoadError>(Wire { server, client: builder.with_layer(&Bounds { requests: requests.clone() }).build() })
    };
    let mut all = BTreeMap::new();
    let mut preferred = Server::Kubeconfig;
    for (node, host) in hosts {
        let server = Server::Node(node.clone());
        let mut config = base.clone();
        config.cluster_url =
            with_host(&base.cluster_url, host).map_err(|source| LoadError::Address { host: host.clone(), source })?;
        if config.cluster_url == base.cluster_url {
            preferred = server.clone();
        } else if config.tls_server_name.is_none() {
            config.tls_server_name = Some(SERVER_NAME.to_owned());
        }
        all.insert(server.clone(), connect(server, config)?);
    }
    if preferred == Server::Kubeconfig {
        all.insert(Server::Kubeconfig, connect(Server::Kubeconfig, base)?);
    }
    Ok(Wires { preferred, all })
}

/// The same URL with another host; scheme, port and path stay.
fn with_host(url: &Uri, host: &str) -> Result<Uri, http::Error> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let host = if bare.contains(':') { format!("[{bare}]") } else { bare.to_owned() };
    let authority = match url.port_u16() {
        Some(port) => format!("{host}:{port}"),
        None => host,
    };
    Uri::builder()
        .scheme(url.scheme().cloned().unwrap_or(Scheme::HTTPS))
        .authority(authority.parse::<Authority>()?)
        .path_and_query(url.path_and_query().map_or("/", |path| path.as_str()))
        .build()
}

/// Why a call had no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No answer within the deadline: whether it was carried out is not known.
    #[error("{server} did not answer within {} s", limit.as_secs_f64())]
    TimedOut {
        /// Who.
        server: Server,
        /// The deadline.
        limit: Duration,
    },
    /// The server said no.
    #[error("{server} answered {}: {}", status.code, status.message)]
    Answered {
        /// Who.
        server: Server,
        /// What it said.
        status: Box<Status>,
    },
    /// The connection failed or broke: whether it was carried out is not known.
    #[error("{server} cannot be reached: {why}")]
    Unreachable {
        /// Who.
        server: Server,
        /// The chain of causes.
        why: String,
    },
    /// It answered with something that is not the API's.
    #[error("{server} answered with something unexpected: {why}")]
    Malformed {
        /// Who.
        server: Server,
        /// The chain of causes.
        why: String,
    },
}

impl CallError {
    /// What the API server said, if it spoke.
    pub fn status(&self) -> Option<&Status> {
        match self {
            CallError::Answered { status, .. } => Some(status),
            CallError::TimedOut { .. } | CallError::Unreachable { .. } | CallError::Malformed { .. } => None,
        }
    }

    /// Which server was asked.
    pub fn server(&self) -> &Server {
        match self {
            CallError::TimedOut { server, .. }
            | CallError::Answered { server, .. }
            | CallError::Unreachable { server, .. }
            | CallError::Malformed { server, .. } => server,
        }
    }

    /// The failure that a reading shows.
    pub fn failure(&self) -> Failure {
        let kind = match self {
            CallError::TimedOut { .. } => FailureKind::TimedOut,
            CallError::Answered { status, .. } if matches!(status.code, 401 | 403) => FailureKind::AccessDenied,
            CallError::Answered { .. } => FailureKind::Other,
            CallError::Unreachable { .. } => FailureKind::Unreachable,
            CallError::Malformed { .. } => FailureKind::Malformed,
        };
        Failure::new(kind, self.to_string())
    }

    /// Sorts one of kube's errors.
    pub fn new(server: &Server, error: &kube::Error) -> Self {
        let server = server.clone();
        // kube's errors are many and non-exhaustive in spirit; whatever is neither an answer nor unreadable broke on the way.
        if let kube::Error::Api(status) = error {
            CallError::Answered { server, status: status.clone() }
        } else if matches!(error, kube::Error::SerdeError(_) | kube::Error::FromUtf8(_)) {
            CallError::Malformed { server, why: chain(error) }
        } else {
            CallError::Unreachable { server, why: chain(error) }
        }
    }
}

/// Makes one call over a wire, within a deadline.
pub async fn call<T>(
    wire: &Wire,
    limit: Duration,
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(CallError::new(&wire.server, &error)),
        Err(_) => Err(CallError::TimedOut { server: wire.server.clone(), limit }),
    }
}

/// An error and its causes, a cause whose text already stands in the line left out: kube repeats itself.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = cause.source();
    }
    text
}

/// How many requests were sent, by kube's name of the call (`list`, `watch`, `patch`, ...).
#[derive(Clone, Debug, Default)]
pub struct Requests(Arc<Mutex<BTreeMap<&'static str, u64>>>);

impl Requests {
    /// Counts one. Only for those who make wires.
    pub fn count<T>(&self, request: &Request<T>) {
        let by_method = || match request.uri().path() {
            "/readyz" => "readyz",
            _ if request.method() == http::Method::DELETE => "delete",
            _ => "other",
        };
        let name = request.extensions().get::<&'static str>().copied().unwrap_or_else(by_method);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
    }

    /// The counts so far.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A layer that counts requests and bounds the time to the first byte of each answer.
#[derive(Clone)]
struct Bounds {
    requests: Requests,
}

impl<S> Layer<S> for Bounds {
    type Service = Bounded<S>;

    fn layer(&self, inner: S) -> Bounded<S> {
        Bounded { inner, requests: self.requests.clone() }
    }
}

/// What [`Bounds`] makes of a service.
struct Bounded<S> {
    inner: S,
    requests: Requests,
}

impl<S, B> Service<Request<Body>> for Bounded<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.requests.count(&request);
        let answer = self.inner.call(request);
        Box::pin(async move {
            match tokio::time::timeout(ANSWER_LIMIT, answer).await {
                Ok(answer) => answer.map_err(Into::into),
                Err(elapsed) => Err(elapsed.into()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_planes_address_keeps_the_kubeconfigs_scheme_port_and_path() {
        let url: Uri = "https://10.0.0.1:6443/k8s".parse().unwrap();
        assert_eq!(with_host(&url, "cp-2.lan").unwrap().to_string(), "https://cp-2.lan:6443/k8s");
        assert_eq!(with_host(&url, "fd00::2").unwrap().to_string(), "https://[fd00::2]:6443/k8s");
        assert_eq!(with_host(&url, "[fd00::2]").unwrap().to_string(), "https://[fd00::2]:6443/k8s");
        assert!(with_host(&url, "cp 2").is_err());
        let portless: Uri = "https://k8s.lan".parse().unwrap();
        assert_eq!(with_host(&portless, "cp-2").unwrap().to_string(), "https://cp-2/");
    }

    #[tokio::test]
    async fn a_missing_or_broken_kubeconfig_is_named_with_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubeconfig");
        let source = KubeconfigSource { path: path.clone(), hosts: BTreeMap::new(), requests: Requests::default() };
        let missing = source.load().await.err().unwrap().failure().detail;
        assert!(missing.contains("kubeconfig") && missing.contains("No such file"), "{missing}");
        let version = source.version();

        std::fs::write(&path, "apiVersion: v1\nkind: Config\nclusters: {").unwrap();
        assert_ne!(source.version(), version);
        assert!(source.load().await.is_err());
    }

    #[tokio::test]
    async fn the_kubeconfigs_own_server_is_not_asked_twice() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubeconfig");
        std::fs::write(&path, KUBECONFIG).unwrap();
        let hosts: BTreeMap<NodeName, String> =
            [("cp-1".into(), "127.0.0.1".to_owned()), ("cp-2".into(), "10.0.0.2".to_owned())].into();
        let source = KubeconfigSource { path, hosts, requests: Requests::default() };
        let wires = source.load().await.unwrap();
        assert_eq!(wires.preferred, Server::Node("cp-1".into()));
        assert_eq!(wires.all.len(), 2);
    }

    const KUBECONFIG: &str = "
apiVersion: v1
kind: Config
current-context: default
contexts: [{name: default, context: {cluster: default, user: default}}]
clusters: [{name: default, cluster: {server: 'http://127.0.0.1:6443'}}]
users: [{name: default, user: {token: not-a-real-one}}]
";
}
