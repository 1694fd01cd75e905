//! The harness in namespaces of its own.
//!
//! What it makes (network devices, small disks, processes that may be frozen at the moment) must be gone when it ends,
//! however it ends, and must be in nobody's way meanwhile. So a test runs its own program again in new namespaces for
//! network, mounts and processes: the kernel takes all that with the process that they were made for. Without root it
//! tries to be root in a user namespace. Where not even that is allowed, the test goes on as it is, without what needs it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

/// Set for the program inside.
const INSIDE: &str = "JETTRA_FAULTS_APART";

/// What makes the namespaces. Frozen nodes die with the first process of theirs, which is the harness.
const NAMESPACES: [&str; 6] = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"];

/// Whether this process has namespaces of its own, in which it is root.
pub fn is_apart() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs `body`, which is the test `test` (its whole path), in namespaces of their own where that is allowed.
pub fn run(test: &str, body: impl AsyncFnOnce()) {
    if is_apart() {
        end_with_who_began_this();
        // Clocks that are wrong leave files there when their process is killed.
        mount_shared_memory();
        on_a_runtime(body);
        return;
    }
    let user: &[&str] = if nix::unistd::geteuid().is_root() { &[] } else { &["--user", "--map-root-user"] };
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(user).args(NAMESPACES);
        command
    };
    let allowed = unshare().arg("true").stdin(Stdio::null()).output();
    match allowed {
        Ok(output) if output.status.success() => {}
        why => {
            let why = why.map_or_else(|e| e.to_string(), |output| String::from_utf8_lossy(&output.stderr).into_owned());
            println!("NOT TRIED: faults of the network and of disks, since `unshare` is refused here: {}", why.trim());
            on_a_runtime(body);
            return;
        }
    }
    let (output, input) = std::io::pipe().unwrap();
    let mut inside = unshare()
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--include-ignored", "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .stdin(Stdio::piped())
        .stdout(input.try_clone().unwrap())
        .stderr(input)
        .spawn()
        .unwrap();
    for line in BufReader::new(output).lines() {
        println!("{}", line.unwrap());
    }
    let status = inside.wait().unwrap();
    assert!(status.success(), "the run failed, see above: {status}");
}

fn on_a_runtime(body: impl AsyncFnOnce()) {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(body());
}

/// Ends this process, and so all in its namespaces, once the process outside is gone.
fn end_with_who_began_this() {
    std::thread::spawn(|| {
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
        std::process::exit(1);
    });
}

fn mount_shared_memory() {
    let mounted = Command::new("mount").args(["-t", "tmpfs", "tmpfs", "/dev/shm"]).status();
    if !mounted.is_ok_and(|status| status.success()) {
        println!("/dev/shm is not this run's own: wrong clocks may leave files there");
    }
}
