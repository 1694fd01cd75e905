//! Another node, played by a test.

use jettra_server::peers::{Handshake, Key, Nonce, PEER_HEADER, ProveRequest, SEALED, Secret};
use serde_json::{Value, json};

use crate::common::{Answer, Node};

/// Another node's session, made by hand.
pub struct Session {
    pub name: String,
    pub key: Key,
}

/// The cluster and the Raft id of a node, as it keeps them.
pub fn membership(node: &Node) -> (String, u64) {
    let identity: Value = serde_json::from_slice(&std::fs::read(node.dir().join("data/node.json")).unwrap()).unwrap();
    let membership = &identity["membership"];
    (membership["clusterId"].as_str().unwrap().to_owned(), membership["raftId"].as_u64().unwrap())
}

/// A call between nodes without seal.
pub async fn rpc(node: &Node, call: &str, header: Option<&str>, body: &str) -> Answer {
    let request = node.anonymous("POST", &format!("/raft/rpc/{call}")).body(body.to_owned());
    node.send(match header {
        Some(header) => request.header(PEER_HEADER, header),
        None => request,
    })
    .await
}

/// What a member with the Raft id `from` says to open a session with `node`, under `secret`.
pub async fn proof(node: &Node, secret: &str, from: u64) -> ProveRequest {
    let (cluster, to) = membership(node);
    let caller = Nonce::random();
    let identity = rpc(node, "identity", None, &json!({ "nonce": caller.as_str() }).to_string()).await.ok();
    let told: Vec<_> = identity.as_object().unwrap().keys().cloned().collect();
    assert_eq!(told, ["rpcVersion", "version", "nonce", "secret"], "a stranger is told no more");
    let called = identity["nonce"].as_str().unwrap().to_owned();
    let (caller, url) = (caller.as_str().to_owned(), node.url());
    let request = ProveRequest { caller, called, cluster, from, to, url, proofs: vec![] };
    prove_under(secret, request)
}

/// The same request with the proof that it needs.
pub fn prove_under(secret: &str, mut request: ProveRequest) -> ProveRequest {
    request.proofs = vec![Handshake::of(&request).caller_proof(&Secret::new(secret).unwrap())];
    request
}

/// Sends it.
pub async fn prove(node: &Node, request: &ProveRequest) -> Answer {
    rpc(node, "prove", None, &serde_json::to_string(request).unwrap()).await
}

impl Session {
    /// Tries to open a session with `node` under `secret`, speaking for the member with Raft id `from`.
    pub async fn open(node: &Node, secret: &str, from: u64) -> Result<Session, Answer> {
        let request = proof(node, secret, from).await;
        let answer = prove(node, &request).await;
        if answer.status != 200 {
            return Err(answer);
        }
        let (secret, handshake) = (Secret::new(secret).unwrap(), Handshake::of(&request));
        let told: jettra_server::peers::ProveAnswer = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(told.proof, handshake.called_proof(&secret, told.node.get(), told.removed));
        if told.removed.is_some() {
            return Err(answer);
        }
        // A proof counts once.
        assert_eq!(prove(node, &request).await.status, 401);
        Ok(Session { name: request.called.clone(), key: handshake.key(&secret) })
    }

    pub fn seal(&self, call: &str, sequence: u64, body: &str) -> Vec<u8> {
        self.key.seal_call(&format!("/raft/rpc/{call}"), sequence, body.as_bytes()).to_vec()
    }

    /// Sends a sealed call and opens its answer, if that is sealed.
    pub async fn send(&self, node: &Node, call: &str, sequence: u64, sealed: Vec<u8>) -> Answer {
        let request = node.anonymous("POST", &format!("/raft/rpc/{call}"));
        let request = request.header(PEER_HEADER, format!("{};{sequence}", self.name)).body(sealed);
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = response.bytes().await.unwrap();
        if headers.get(PEER_HEADER).is_some_and(|value| value == SEALED) {
            body = self.key.open_answer(status, sequence, body).expect("a seal of this session");
        }
        let mut answer = Answer { status, headers, body: String::from_utf8(body.into()).unwrap() };
        answer.headers.insert("content-type", "application/json".parse().unwrap());
        answer
    }

    /// Seals a call and sends it.
    pub async fn call(&self, node: &Node, call: &str, sequence: u64, body: &str) -> Answer {
        self.send(node, call, sequence, self.seal(call, sequence, body)).await
    }
}
