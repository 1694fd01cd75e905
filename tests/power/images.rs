//! Three nodes on block devices that are copied while the nodes acknowledge, and started from the copies: real file systems,
//! whose journals are replayed.
//!
//! Each node's data lie in an ext4 of its own, in an image file that is mounted through a loop device. The images lie in an
//! xfs, which copies a file at one moment without copying its blocks (`cp --reflink=always`): such a copy is what a disk
//! would hold if the power had been cut then.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use crate::common::{Cluster, Node, member_config};
use crate::cuts;
use crate::told::{Clients, Story, known};
use crate::trio::{compare, name, read};

const SIZE: usize = 3;
/// Rounds of copies.
const ROUNDS: usize = 3;

/// What was mounted, which is unmounted in the other order whatever happens.
struct Mounts {
    dir: tempfile::TempDir,
    mounted: Vec<PathBuf>,
}

impl Drop for Mounts {
    fn drop(&mut self) {
        for path in self.mounted.iter().rev() {
            // Lazily: its loop device goes with its last user.
            if let Err(e) = run("umount", &["--lazy", &text(path)]) {
                eprintln!("{} could not be unmounted: {e}", path.display());
            }
        }
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output().map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

impl Mounts {
    /// The outer file system, in which copies cost nothing.
    fn new() -> Result<Mounts, String> {
        let prefix = format!("jettra-images-{}-", std::process::id());
        let dir = tempfile::Builder::new().prefix(&prefix).tempdir().map_err(|e| e.to_string())?;
        let mut mounts = Mounts { dir, mounted: Vec::new() };
        let image = mounts.dir.path().join("outer.img");
        sparse(&image, 8 << 30)?;
        run("mkfs.xfs", &["-q", "-m", "reflink=1", &text(&image)])?;
        mounts.mount(&image, "outer")?;
        Ok(mounts)
    }

    /// Mounts an image under a name.
    fn mount(&mut self, image: &Path, name: &str) -> Result<PathBuf, String> {
        let at = self.dir.path().join(name);
        std::fs::create_dir(&at).map_err(|e| e.to_string())?;
        run("mount", &["-o", "loop", &text(image), &text(&at)])?;
        self.mounted.push(at.clone());
        Ok(at)
    }

    fn image(&self, name: &str) -> PathBuf {
        self.dir.path().join("outer").join(format!("{name}.img"))
    }

    /// A new ext4 in an image of its own.
    fn make(&mut self, name: &str) -> Result<PathBuf, String> {
        let image = self.image(name);
        sparse(&image, 1 << 30)?;
        run("mkfs.ext4", &["-q", &text(&image)])?;
        self.mount(&image, name)
    }

    /// Copies the image as it is at one moment.
    fn copy(&self, name: &str, copy: &str) -> Result<(), String> {
        run("cp", &["--reflink=always", &text(&self.image(name)), &text(&self.image(copy))])
    }
}

fn sparse(path: &Path, bytes: u64) -> Result<(), String> {
    let made = std::fs::File::create_new(path).and_then(|file| file.set_len(bytes));
    made.map_err(|e| format!("{}: {e}", path.display()))
}

fn config(place: usize, data: &Path) -> Value {
    let mut config = member_config(&name(place), place == 0);
    let settings = json!({
        "DataDir": data.join("data"), "DiskReserveBytes": 0, "LogRetainEntries": 10, "LogRetainBytes": 1 << 20,
    });
    config.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    config
}

/// `cargo test --test power -- --ignored --nocapture images` as root, with xfsprogs.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, loop devices and mkfs.xfs (xfsprogs)"]
async fn a_cluster_starts_from_images_that_were_copied_while_it_acknowledged() {
    let seed = cuts::seed(None);
    let (mut mounts, homes) = match prepare() {
        Ok(prepared) => prepared,
        Err(why) => {
            eprintln!("!!! NOT TESTED: a cluster on copied images: {why}. It needs root, loop devices and xfsprogs.");
            return;
        }
    };
    let mut cluster =
        Cluster::unregistered(|number| (number <= SIZE).then(|| config(number - 1, &homes[number - 1]))).await;
    for place in 0..SIZE {
        cluster.nodes[place].start().await;
        if place > 0 {
            cluster.register(place).await;
        }
    }
    cluster.settled().await;

    let (story, began) = (Story::default(), Instant::now());
    let now = move || usize::try_from(began.elapsed().as_micros()).unwrap();
    let urls = cluster.nodes.iter().map(Node::url).collect();
    let clients = Clients::start(3, "i", urls, Arc::new(now), &story, &seed);
    let mut begins = Vec::new();
    for round in 0..ROUNDS {
        clients.go_on(60).await;
        begins.push(now());
        for place in 0..SIZE {
            mounts.copy(&name(place), &format!("copy{round}-{}", name(place))).unwrap();
        }
    }
    clients.go_on(20).await;
    for node in &mut cluster.nodes {
        node.kill();
    }
    clients.stop().await;

    let story = std::mem::take(&mut *story.lock().unwrap());
    for (round, begin) in begins.into_iter().enumerate() {
        for place in 0..SIZE {
            let copy = format!("copy{round}-{}", name(place));
            let image = mounts.image(&copy);
            let home = mounts.mount(&image, &copy).unwrap();
            cluster.nodes[place].configure("DataDir", text(&home.join("data")));
        }
        let known = known(&story, begin);
        assert!(!known.is_empty());
        compare(&mut cluster, &known).await.unwrap();
        // What was acknowledged after the copying is not in the copies: the comparison would see it.
        assert!(read(&cluster, &crate::told::known(&story, usize::MAX)).await.is_err());
        println!("round {round}: {} documents are as acknowledged", known.len());
        for node in &mut cluster.nodes {
            node.kill();
        }
    }
}

/// The images of all nodes, mounted, and where.
fn prepare() -> Result<(Mounts, Vec<PathBuf>), String> {
    let mut mounts = Mounts::new()?;
    let homes = (0..SIZE).map(|place| mounts.make(&name(place))).collect::<Result<_, _>>()?;
    Ok((mounts, homes))
}
