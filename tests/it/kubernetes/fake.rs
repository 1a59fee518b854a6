//! A Kubernetes API in memory, behind any number of servers that can die, freeze or stop being ready.
//!
//! It speaks to kube's client without sockets, so that tokio's paused clock rules all waiting. It keeps what an API
//! server promises and these tests rely on: resource versions, watches that resume, preconditions, grace periods.

#![expect(clippy::unwrap_used, reason = "a broken fake shall break its test")]

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use futures::future::BoxFuture;
use hecate::clients::kubernetes::{LoadError, Requests, Server, Source, Wire, Wires};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::client::Body;
use serde_json::{Value, json};

type Answer = Response<UnsyncBoxBody<Bytes, io::Error>>;
type Event = Result<Frame<Bytes>, io::Error>;

/// How a server behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Health {
    #[default]
    Ready,
    /// Answers, but `/readyz` is 500.
    NotReady,
    /// Refuses connections.
    Dead,
    /// Takes requests and never answers.
    Frozen,
}

#[derive(Default)]
struct World {
    version: u64,
    /// By collection path and name.
    objects: BTreeMap<(String, String), Value>,
    /// Version, collection and event.
    history: Vec<(u64, String, Value)>,
    watches: Vec<(String, String, UnboundedSender<Event>)>,
    health: BTreeMap<String, Health>,
    /// Statuses that the next evictions of a pod are answered with; the last one stays.
    refusals: BTreeMap<String, VecDeque<Value>>,
    /// Every request: server, method, path with query, body.
    log: Vec<(String, String, String, Value)>,
    /// Answers the next PATCH with a conflict.
    conflicts: u32,
}

/// The cluster behind all servers.
#[derive(Clone)]
pub(super) struct Fake {
    world: Arc<Mutex<World>>,
    pub(super) requests: Requests,
    servers: Vec<String>,
}

pub(super) const NODES: &str = "/api/v1/nodes";
pub(super) const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
pub(super) const ATTACHMENTS: &str = "/apis/storage.k8s.io/v1/volumeattachments";
pub(super) const VOLUMES: &str = "/api/v1/persistentvolumes";
const PODS: &str = "/api/v1/pods";

impl Fake {
    /// A cluster whose API is served under these names; the first is preferred.
    pub(super) fn new(servers: &[&str]) -> Self {
        let servers: Vec<String> = servers.iter().map(|&name| name.to_owned()).collect();
        let fake = Self { world: Arc::default(), requests: Requests::default(), servers };
        fake.world().version = 100;
        fake
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// Changes how a server behaves; a dead one breaks its watches.
    pub(super) fn set(&self, server: &str, health: Health) {
        let mut world = self.world();
        world.health.insert(server.to_owned(), health);
        if health == Health::Dead {
            for (_, _, watch) in world.watches.extract_if(.., |(on, ..)| on == server) {
                // Its reader may be gone already.
                let _ = watch.unbounded_send(Err(io::Error::from(io::ErrorKind::ConnectionReset)));
            }
        }
    }

    /// Creates or replaces an object.
    pub(super) fn put(&self, collection: &str, name: &str, object: Value) {
        self.world().put(collection, name, object);
    }

    /// Changes an object by a JSON merge patch.
    pub(super) fn merge(&self, collection: &str, name: &str, patch: &Value) {
        let mut world = self.world();
        let mut object = world.objects[&(collection.to_owned(), name.to_owned())].clone();
        merge(&mut object, patch);
        world.put(collection, name, object);
    }

    /// Creates a pod; its grace is one second.
    pub(super) fn pod(&self, node: &str, namespace: &str, name: &str, uid: &str) {
        self.put(
            PODS,
            &format!("{namespace}/{name}"),
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"namespace": namespace, "name": name, "uid": uid,
                    "ownerReferences": [{"kind": "ReplicaSet", "controller": true}]},
                "spec": {"nodeName": node, "terminationGracePeriodSeconds": 1},
                "status": {"phase": "Running"}
            }),
        );
    }

    pub(super) fn merge_pod(&self, namespace: &str, name: &str, patch: &Value) {
        self.merge(PODS, &format!("{namespace}/{name}"), patch);
    }

    pub(super) fn remove_pod(&self, namespace: &str, name: &str) {
        self.world().remove(PODS, &format!("{namespace}/{name}"));
    }

    /// UIDs of the pods that there are.
    pub(super) fn uids(&self) -> Vec<String> {
        let world = self.world();
        let pods = world.objects.iter().filter(|((collection, _), _)| collection == PODS);
        pods.map(|(_, pod)| text(&pod["metadata"]["uid"])).collect()
    }

    pub(super) fn node(&self, name: &str) {
        self.put(
            NODES,
            name,
            json!({"metadata": {"name": name, "uid": name}, "status": {
            "conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"bootID": "b", "machineID": "m"}}}),
        );
    }

    pub(super) fn object(&self, collection: &str, name: &str) -> Value {
        self.world().objects[&(collection.to_owned(), name.to_owned())].clone()
    }

    /// Answers evictions of a pod with these, one after another; the last one for ever, unless it is null.
    pub(super) fn refuse(&self, namespace: &str, name: &str, answers: &[Value]) {
        self.world().refusals.insert(format!("{namespace}/{name}"), answers.iter().cloned().collect());
    }

    pub(super) fn conflict_next(&self, count: u32) {
        self.world().conflicts = count;
    }

    /// Requests whose method and path contain these words, with their bodies.
    pub(super) fn asked(&self, method: &str, path: &str) -> Vec<Value> {
        let world = self.world();
        let matching = world.log.iter().filter(|(_, verb, uri, _)| verb == method && uri.contains(path));
        matching.map(|(.., body)| body.clone()).collect()
    }

    /// Requests to one server but its probes.
    pub(super) fn asked_of(&self, server: &str) -> usize {
        self.world().log.iter().filter(|(on, _, uri, _)| on == server && !uri.starts_with("/readyz")).count()
    }

    fn client(&self, server: &str) -> kube::Client {
        let (fake, server) = (self.clone(), server.to_owned());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (fake, server) = (fake.clone(), server.clone());
            async move { fake.serve(&server, request).await }
        });
        kube::Client::new(service, "default")
    }

    async fn serve(&self, server: &str, request: Request<Body>) -> Result<Answer, io::Error> {
        self.requests.count(&request);
        let (method, uri) = (request.method().to_string(), request.uri().to_string());
        let body = request.into_body().collect_bytes().await.map_err(io::Error::other)?;
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let health = {
            let mut world = self.world();
            world.log.push((server.to_owned(), method.clone(), uri.clone(), body.clone()));
            world.health.get(server).copied().unwrap_or_default()
        };
        match health {
            Health::Dead => Err(io::ErrorKind::ConnectionRefused.into()),
            Health::Frozen => std::future::pending().await,
            Health::NotReady if uri.starts_with("/readyz") => {
                Ok(plain(500, "[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed\n"))
            }
            Health::Ready | Health::NotReady => Ok(self.answer(server, &method, &uri, body)),
        }
    }

    fn answer(&self, server: &str, method: &str, uri: &str, body: Value) -> Answer {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let parts: Vec<&str> = path.trim_start_matches("/api/v1/namespaces/").split('/').collect();
        match (method, parts.as_slice()) {
            ("GET", _) if path == "/readyz" => plain(200, "ok"),
            ("POST", [namespace, "pods", name, "eviction"]) => {
                self.evict(&format!("{namespace}/{name}"), &body["deleteOptions"], true)
            }
            ("DELETE", [namespace, "pods", name]) => self.evict(&format!("{namespace}/{name}"), &body, false),
            ("PATCH", _) => self.patch(path, &body),
            ("GET", _) if query.contains("watch=true") => self.watch(server, path, query),
            ("GET", _) => self.read(path, query),
            _ => status(405, "not here"),
        }
    }

    fn read(&self, path: &str, query: &str) -> Answer {
        let world = self.world();
        if let Some((collection, name)) = path.rsplit_once('/')
            && [NODES, VOLUMES].contains(&collection)
        {
            let found = world.objects.get(&(collection.to_owned(), name.to_owned()));
            return found.map_or_else(|| status(404, "not found"), |object| answer(200, object));
        }
        let node = query.split("fieldSelector=spec.nodeName%3D").nth(1).and_then(|rest| rest.split('&').next());
        let items = world.objects.iter().filter(|((collection, _), _)| collection == path).map(|(_, object)| object);
        let items: Vec<&Value> =
            items.filter(|object| node.is_none_or(|node| object["spec"]["nodeName"] == node)).collect();
        answer(200, &json!({"metadata": {"resourceVersion": world.version.to_string()}, "items": items}))
    }

    fn watch(&self, server: &str, path: &str, query: &str) -> Answer {
        let from = query.split("resourceVersion=").nth(1).and_then(|rest| rest.split('&').next());
        let from: u64 = from.and_then(|version| version.parse().ok()).unwrap_or(0);
        let (sender, receiver) = unbounded();
        let mut world = self.world();
        for (version, collection, event) in &world.history {
            if *version > from && collection == path {
                sender.unbounded_send(Ok(line(event))).unwrap();
            }
        }
        world.watches.push((server.to_owned(), path.to_owned(), sender));
        Response::new(StreamBody::new(receiver).boxed_unsync())
    }

    fn patch(&self, path: &str, patch: &Value) -> Answer {
        let (collection, name) = path.rsplit_once('/').unwrap();
        let mut world = self.world();
        let mut object = world.objects[&(collection.to_owned(), name.to_owned())].clone();
        if world.conflicts > 0 {
            // Somebody else was faster.
            world.conflicts -= 1;
            world.put(collection, name, object.clone());
        }
        let present = world.objects[&(collection.to_owned(), name.to_owned())]["metadata"]["resourceVersion"].clone();
        if patch["metadata"]["resourceVersion"] != present {
            return status(409, "the object has been modified");
        }
        merge(&mut object, patch);
        let object = world.put(collection, name, object);
        answer(200, &object)
    }

    fn evict(&self, key: &str, options: &Value, is_eviction: bool) -> Answer {
        let mut world = self.world();
        let Some(pod) = world.objects.get(&(PODS.to_owned(), key.to_owned())).cloned() else {
            let name = key.rsplit('/').next().unwrap();
            return answer(
                404,
                &json!({"kind": "Status", "code": 404, "reason": "NotFound", "details": {"kind": "pods", "name": name}}),
            );
        };
        let (wanted, present) = (&options["preconditions"]["uid"], &pod["metadata"]["uid"]);
        assert!(wanted.is_string(), "every eviction and deletion names the UID it means");
        if wanted != present {
            return status(
                409,
                &format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {present}"),
            );
        }
        if is_eviction && let Some(refusals) = world.refusals.get_mut(key) {
            let next = if refusals.len() > 1 { refusals.pop_front() } else { refusals.front().cloned() };
            if let Some(refusal) = next.filter(|refusal| !refusal.is_null()) {
                return answer(u16::try_from(refusal["code"].as_u64().unwrap()).unwrap(), &refusal);
            }
        }
        drop(world);
        self.terminate(key, pod);
        answer(201, &json!({"kind": "Status", "status": "Success"}))
    }

    /// Lets a pod end after its grace, unless a finalizer holds it.
    fn terminate(&self, key: &str, mut pod: Value) {
        if !pod["metadata"]["deletionTimestamp"].is_null() {
            return;
        }
        let grace = pod["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
        let uid = pod["metadata"]["uid"].clone();
        let is_held = pod["metadata"]["finalizers"].is_array();
        pod["metadata"]["deletionTimestamp"] = json!("2026-11-22T19:12:07Z");
        self.put(PODS, key, pod);
        if is_held {
            return;
        }
        let (fake, key) = (self.clone(), key.to_owned());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(grace)).await;
            let mut world = fake.world();
            let is_same = |pod: &Value| pod["metadata"]["uid"] == uid;
            if world.objects.get(&(PODS.to_owned(), key.clone())).is_some_and(is_same) {
                world.remove(PODS, &key);
            }
        });
    }
}

impl World {
    fn put(&mut self, collection: &str, name: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let key = (collection.to_owned(), name.to_owned());
        let kind = if self.objects.contains_key(&key) { "MODIFIED" } else { "ADDED" };
        self.objects.insert(key, object.clone());
        self.tell(collection, json!({"type": kind, "object": object}));
        object
    }

    fn remove(&mut self, collection: &str, name: &str) {
        self.version += 1;
        let mut object = self.objects.remove(&(collection.to_owned(), name.to_owned())).unwrap();
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.tell(collection, json!({"type": "DELETED", "object": object}));
    }

    fn tell(&mut self, collection: &str, event: Value) {
        let health = &self.health;
        for (server, path, watch) in &self.watches {
            let is_heard = !matches!(health.get(server), Some(Health::Frozen | Health::Dead));
            if path == collection && is_heard {
                // Its reader may be gone already.
                let _ = watch.unbounded_send(Ok(line(&event)));
            }
        }
        self.history.push((self.version, collection.to_owned(), event));
    }
}

/// Gives the wires of a fake.
impl Source for Fake {
    fn load(&self) -> BoxFuture<'_, Result<Wires, LoadError>> {
        let wire = |name: &String| {
            let server = Server::Node(name.as_str().into());
            (server.clone(), Wire { server, client: self.client(name) })
        };
        let wires = Wires {
            preferred: Server::Node(self.servers[0].as_str().into()),
            all: self.servers.iter().map(wire).collect(),
        };
        Box::pin(std::future::ready(Ok(wires)))
    }

    fn version(&self) -> String {
        String::new()
    }
}

fn line(event: &Value) -> Frame<Bytes> {
    Frame::data(Bytes::from(format!("{event}\n")))
}

fn answer(code: u16, body: &Value) -> Answer {
    plain(code, &body.to_string())
}

fn status(code: u16, message: &str) -> Answer {
    let reason = if code == 404 { "NotFound" } else { "Other" };
    answer(code, &json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}))
}

fn plain(code: u16, body: &str) -> Answer {
    let body = Full::new(Bytes::from(body.to_owned())).map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(code).body(body).unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// JSON merge patch (RFC 7386).
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, change) in changes {
        if change.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut target[key], change);
        }
    }
}
