use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::http::{Answer, Http, send};
use super::wait::{SECOND, eventually};

/// The program under test: cargo names it to the tests of its own crate; for those of other crates it
/// lies beside the directory of their executables, once the workspace is built.
fn program() -> PathBuf {
    option_env!("CARGO_BIN_EXE_jettra-server").map_or_else(
        || {
            let beside = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("jettra-server");
            assert!(beside.exists(), "{} is missing: build it with cargo build --workspace", beside.display());
            beside
        },
        PathBuf::from,
    )
}

/// One node: a directory, a configuration, and the process while it runs.
///
/// The directory is the process's working directory, so a relative `DataDir` lies within it, and
/// `config.json` is found without a flag.
pub struct Node {
    pub id: String,
    pub port: u16,
    dir: PathBuf,
    config: Value,
    /// Environment variables of its process.
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
    /// The program to run, where it is not the one under test.
    program: Option<PathBuf>,
    /// A command that runs the program, as `nsenter … --`; none where it is run directly. It becomes the program
    /// (`exec`), so that the process is the node's.
    runner: Vec<String>,
    /// Where it is reached, without the port.
    host: String,
    /// The `Authorization` header of requests to it.
    authorization: Option<String>,
    process: Option<Child>,
    /// Whether it has ever answered: then its port is part of what others know of it.
    has_run: bool,
    http: Http,
    /// The directory, where this node owns it.
    _own_dir: Option<tempfile::TempDir>,
}

impl Node {
    /// A node that is not started yet, in `root/<id>`, with `config` as its `config.json`. A port is
    /// chosen and filled in.
    pub fn new(root: &Path, id: &str, mut config: Value) -> Self {
        let port = free_ports(1);
        config["Port"] = port.into();
        let dir = root.join(id);
        std::fs::create_dir_all(&dir).unwrap();
        let node = Node {
            id: id.to_owned(),
            port,
            dir,
            config,
            environment: Vec::new(),
            arguments: Vec::new(),
            program: None,
            runner: Vec::new(),
            host: "localhost".to_owned(),
            authorization: None,
            process: None,
            has_run: false,
            http: Http::new(40 * SECOND),
            _own_dir: None,
        };
        node.write_config();
        node
    }

    /// A running node of its own, with `settings` over the defaults.
    pub async fn standalone(settings: Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut node = Node::new(dir.path(), "alone", settings);
        node._own_dir = Some(dir);
        node.start().await;
        node
    }

    /// Where clients reach it.
    pub fn url(&self) -> String {
        format!("http://{}:{}", self.host, self.port)
    }

    /// The node's directory: `config.json`, `log`, and the data unless configured elsewhere.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether there is a process, frozen or not.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Changes the configuration for the next start.
    pub fn configure(&mut self, key: &str, value: impl Into<Value>) {
        self.config[key] = value.into();
        self.write_config();
    }

    /// The cluster secret that the node made or was given, and keeps beside its data.
    pub fn secret(&self) -> String {
        let kept = std::fs::read_to_string(self.dir().join("data/secret")).unwrap();
        // Its checksum stands behind it.
        kept.split_whitespace().next().unwrap().to_owned()
    }

    /// Another port for the next start.
    pub fn move_port(&mut self) {
        self.port = free_ports(1);
        self.configure("Port", self.port);
    }

    /// Sets an environment variable for the next start.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Gives these arguments at each start from the next one on.
    pub fn arguments(&mut self, arguments: &[&str]) {
        self.arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    }

    /// Runs this program from the next start on; nothing is the program under test.
    pub fn run_program(&mut self, program: Option<PathBuf>) {
        self.program = program;
    }

    /// Runs the program by this command from the next start on, at an address of its own. The configuration must say the
    /// same of its address.
    pub fn run_at(&mut self, host: &str, runner: Vec<String>) {
        self.host = host.to_owned();
        self.runner = runner;
    }

    /// The process, while there is one.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Sends this `Authorization` header with every request from now on.
    pub fn authorize(&mut self, header: impl Into<String>) {
        self.authorization = Some(header.into());
    }

    /// Starts the process without waiting for anything.
    pub fn launch(&mut self) {
        let stderr = self.open_log().into();
        self.launch_with_stderr(stderr);
    }

    /// The same with another standard error than its log.
    pub fn launch_with_stderr(&mut self, stderr: Stdio) {
        assert!(self.process.is_none(), "{} runs already", self.id);
        let program = self.program.clone().unwrap_or_else(program);
        let mut command = match self.runner.split_first() {
            Some((runner, arguments)) => {
                let mut command = command(runner.into(), &self.dir);
                command.args(arguments).arg(program);
                command
            }
            None => command(program, &self.dir),
        };
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
            .args(&self.arguments)
            .arg("--exit-with-stdin")
            .stdin(Stdio::piped())
            .stdout(self.open_log())
            .stderr(stderr);
        self.process = Some(command.spawn().unwrap());
    }

    /// Starts the process and waits until it answers `/livez`.
    pub async fn start(&mut self) {
        let limit = Instant::now() + 30 * SECOND;
        self.launch();
        loop {
            if let Ok(Answer { status: 200, .. }) = self.try_get("/livez").await {
                self.has_run = true;
                return;
            }
            if let Some(status) = self.process.as_mut().unwrap().try_wait().unwrap() {
                self.process = None;
                assert!(
                    !self.has_run && self.log().contains("in use"),
                    "{} ended while starting: {status}\n{}",
                    self.id,
                    self.log_tail(20)
                );
                // Someone took the port between our looking and the node's binding it.
                self.port = free_ports(1);
                self.configure("Port", self.port);
                self.launch();
            }
            assert!(Instant::now() < limit, "{} does not answer\n{}", self.id, self.log_tail(20));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// SIGKILL: the process gets no chance to do anything.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Removes all that the node, which does not run, has stored.
    pub fn wipe(&mut self) {
        assert!(self.process.is_none(), "{} runs", self.id);
        std::fs::remove_dir_all(self.dir.join("data")).unwrap();
    }

    /// SIGTERM; gives the exit status and how long it took.
    pub async fn stop_gracefully(&mut self) -> (ExitStatus, Duration) {
        let asked = Instant::now();
        self.signal(Signal::SIGTERM);
        let status = self.ended(20 * SECOND).await;
        (status, asked.elapsed())
    }

    /// Waits until the process ends by itself.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let (id, process) = (&self.id, self.process.as_mut().expect("a running node"));
        let status = eventually(limit, &format!("{id} ends"), async || match process.try_wait().unwrap() {
            Some(status) => Ok(status),
            None => Err("it runs".to_owned()),
        })
        .await;
        self.process = None;
        status
    }

    /// Whether the process has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        let ended = self.process.as_mut().is_none_or(|process| process.try_wait().unwrap().is_some());
        if ended {
            self.process = None;
        }
        ended
    }

    /// Kills it if it runs, and starts it again on the same directory and port.
    pub async fn restart(&mut self) {
        self.kill();
        self.start().await;
    }

    /// SIGSTOP: the process keeps its connections and does nothing, as a machine that hangs.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
        // The signal is on its way when `kill` returns: a thread on another core may still answer something.
        let tasks = format!("/proc/{}/task", self.process.as_ref().expect("a running node").id());
        let stopped = |task: &std::path::Path| {
            let stat = std::fs::read_to_string(task.join("stat")).unwrap_or_default();
            stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
        };
        while !std::fs::read_dir(&tasks).expect("its threads").all(|task| stopped(&task.expect("a thread").path())) {
            std::thread::yield_now();
        }
    }

    /// SIGCONT: it goes on where it was.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    pub fn signal(&self, which: Signal) {
        signal(self.process.as_ref().expect("a running node").id(), which);
    }

    /// A request to this node, to complete with headers and a body.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let request = self.anonymous(method, path);
        match &self.authorization {
            Some(header) => request.header("Authorization", header),
            None => request,
        }
    }

    /// The same without credentials.
    pub fn anonymous(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.http.request(method, &format!("{}{path}", self.url()))
    }

    pub async fn try_get(&self, path: &str) -> Result<Answer, String> {
        send(self.request("GET", path)).await
    }

    pub async fn try_post(&self, path: &str, body: impl ToString) -> Result<Answer, String> {
        send(self.request("POST", path).body(body.to_string())).await
    }

    /// Sends a request that must get an answer, whatever it is.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        send(request).await.unwrap_or_else(|error| panic!("{} gave no answer: {error}", self.id))
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path)).await
    }

    pub async fn post(&self, path: &str, body: impl ToString) -> Answer {
        self.send(self.request("POST", path).body(body.to_string())).await
    }

    pub async fn put(&self, path: &str, body: impl ToString) -> Answer {
        self.send(self.request("PUT", path).body(body.to_string())).await
    }

    pub async fn patch(&self, path: &str, body: impl ToString) -> Answer {
        self.send(self.request("PATCH", path).body(body.to_string())).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request("DELETE", path)).await
    }

    /// Everything the node has written to standard output and error, over all its starts.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.dir.join("log")).unwrap_or_default()).into_owned()
    }

    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<&str> = log.lines().collect();
        format!("--- the end of {}'s log\n{}", self.id, all[all.len().saturating_sub(lines)..].join("\n"))
    }

    fn open_log(&self) -> File {
        OpenOptions::new().create(true).append(true).open(self.dir.join("log")).unwrap()
    }

    fn write_config(&self) {
        std::fs::write(self.dir.join("config.json"), format!("{:#}", self.config)).unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail(40));
        }
        self.kill();
    }
}

/// The settings of a member of a test's cluster.
pub fn member_config(id: &str, bootstrap: bool) -> Value {
    json!({ "Host": "127.0.0.1", "distributed": true, "NodeID": id, "Bootstrap": bootstrap })
}

/// Runs the program with these arguments in `dir` until it ends by itself.
pub async fn run_to_end(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::from(command(program(), dir));
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(20 * SECOND, command.output()).await;
    output.unwrap_or_else(|_| panic!("{arguments:?} did not end")).unwrap()
}

/// The program in `dir`, untouched by the environment of whoever runs the tests.
/// `JETTRA_TEST_LOG` sets the nodes' log level.
fn command(program: PathBuf, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("JETTRA_") {
            command.env_remove(name);
        }
    }
    if let Ok(level) = std::env::var("JETTRA_TEST_LOG") {
        command.env("JETTRA_LOG_LEVEL", level);
    }
    command
}

/// Sends a signal to a process that the test knows to be its own.
pub fn signal(pid: u32, which: Signal) {
    nix::sys::signal::kill(Pid::from_raw(pid.try_into().unwrap()), which).unwrap();
}

/// The first of `count` free ports in a row. They lie below those that outgoing connections get, so
/// that a node that was killed finds its own free again; each process of tests begins elsewhere.
pub fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(97);
    for _ in 0..2_000 {
        let step = NEXT.fetch_add(count.into(), Ordering::Relaxed);
        let first = 12_000 + u16::try_from(begin.wrapping_add(step) % 18_000).unwrap();
        // Held in both families by a node: "localhost" is two addresses.
        let is_free = |port| ["0.0.0.0", "127.0.0.1", "::1"].iter().all(|ip| is_free_at(ip, port));
        if (first..first + count).all(is_free) {
            return first;
        }
    }
    panic!("no free ports");
}

fn is_free_at(ip: &str, port: u16) -> bool {
    TcpListener::bind((ip, port)).map_or_else(|error| error.kind() != std::io::ErrorKind::AddrInUse, |_| true)
}
