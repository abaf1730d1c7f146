//! A disk that loses its power: what was synced is there, and of the rest any part may be. A
//! file's sync does not make its name durable, and a directory's does; the changes of one
//! directory reach the disk in their order.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

use super::record::Op;

/// Bytes that reach the disk together, and those that it writes as a whole.
const PAGE: usize = 4_096;
const SECTOR: usize = 512;

#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    files: Vec<File>,
    dirs: BTreeMap<String, Dir>,
    by_inode: HashMap<u64, Node>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    File(usize),
    Dir(String),
}

#[derive(Debug, Clone, Default)]
struct File {
    synced: Vec<u8>,
    since: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

type Names = BTreeMap<String, Node>;

#[derive(Debug, Clone, Default)]
struct Dir {
    now: Names,
    synced: Names,
    since: Vec<NameChange>,
}

#[derive(Debug, Clone)]
enum NameChange {
    Add(String, Node),
    Remove(String),
    Rename(String, String),
}

impl NameChange {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Add(name, node) => {
                names.insert(name.clone(), node.clone());
            }
            Self::Remove(name) => {
                names.remove(name);
            }
            Self::Rename(from, to) => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
        }
    }
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// How much of what was not synced is left.
#[derive(Debug, Clone, Copy)]
enum Left {
    Nothing,
    All,
    Some,
}

impl Left {
    fn draw(random: &mut fastrand::Rng) -> Self {
        [Self::Nothing, Self::All, Self::Some, Self::Some][random.usize(..4)]
    }

    fn count(self, of: usize, random: &mut fastrand::Rng) -> usize {
        match self {
            Self::Nothing => 0,
            Self::All => of,
            Self::Some => random.usize(..=of),
        }
    }
}

impl Disk {
    /// A disk that has a directory on it, durably.
    pub(super) fn with(dir: &Path) -> Self {
        let mut disk = Self::default();
        disk.load(dir, "");
        disk
    }

    fn load(&mut self, from: &Path, path: &str) {
        let mut names = Names::new();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let below = format!("{path}/{name}").trim_start_matches('/').to_owned();
            let node = if entry.file_type().unwrap().is_dir() {
                self.load(&entry.path(), &below);
                Node::Dir(below)
            } else {
                let synced = fs::read(entry.path()).unwrap();
                let since = Vec::new();
                self.files.push(File { synced, since });
                Node::File(self.files.len() - 1)
            };
            names.insert(name, node);
        }
        let dir = Dir {
            now: names.clone(),
            synced: names,
            since: Vec::new(),
        };
        self.dirs.insert(path.to_owned(), dir);
    }

    /// Does what the process did.
    pub(super) fn apply(&mut self, op: &Op) {
        match op {
            Op::Open {
                path,
                inode,
                truncates,
            } => {
                let node = self.node(path).unwrap_or_else(|| self.make(path));
                if let (Node::File(file), true) = (&node, truncates) {
                    self.files[*file].since.push(Change::Truncate(0));
                }
                self.by_inode.insert(*inode, node);
            }
            Op::Write {
                inode,
                offset,
                data,
            } => {
                let change = Change::Write(*offset, data.clone());
                self.file(*inode).since.push(change);
            }
            Op::Truncate { inode, size } => {
                self.file(*inode).since.push(Change::Truncate(*size));
            }
            Op::Sync { inode } => match self.by_inode[inode].clone() {
                Node::File(file) => {
                    let file = &mut self.files[file];
                    for change in std::mem::take(&mut file.since) {
                        change.apply(&mut file.synced);
                    }
                }
                Node::Dir(path) => {
                    let dir = self.dirs.get_mut(&path).unwrap();
                    dir.synced = dir.now.clone();
                    dir.since.clear();
                }
            },
            Op::MakeDir { path } => {
                self.dirs.insert(path.clone(), Dir::default());
                self.change(path, |name| NameChange::Add(name, Node::Dir(path.clone())));
            }
            Op::Rename { from, to } => {
                assert_eq!(split(from).0, split(to).0, "within one directory");
                self.change(from, |name| {
                    NameChange::Rename(name, split(to).1.to_owned())
                });
            }
            Op::Remove { path } => self.change(path, NameChange::Remove),
            Op::Said(_) => {}
        }
    }

    fn node(&self, path: &str) -> Option<Node> {
        if self.dirs.contains_key(path) {
            return Some(Node::Dir(path.to_owned()));
        }
        let (dir, name) = split(path);
        self.dirs.get(dir)?.now.get(name).cloned()
    }

    fn make(&mut self, path: &str) -> Node {
        self.files.push(File::default());
        let node = Node::File(self.files.len() - 1);
        self.change(path, |name| NameChange::Add(name, node.clone()));
        node
    }

    fn change(&mut self, path: &str, change: impl FnOnce(String) -> NameChange) {
        let (dir, name) = split(path);
        if path.is_empty() {
            return;
        }
        let dir = self.dirs.get_mut(dir).unwrap();
        let change = change(name.to_owned());
        change.apply(&mut dir.now);
        dir.since.push(change);
    }

    fn file(&mut self, inode: u64) -> &mut File {
        match &self.by_inode[&inode] {
            Node::File(file) => &mut self.files[*file],
            Node::Dir(path) => panic!("{path} is written to"),
        }
    }

    /// Writes what is left after a cut into an empty directory.
    pub(super) fn cut(&self, to: &Path, random: &mut fastrand::Rng) {
        let (names, data) = (Left::draw(random), Left::draw(random));
        self.cut_dir("", to, names, data, random);
    }

    fn cut_dir(&self, path: &str, to: &Path, names: Left, data: Left, random: &mut fastrand::Rng) {
        let Some(dir) = self.dirs.get(path) else {
            return;
        };
        let mut left = dir.synced.clone();
        let count = names.count(dir.since.len(), random);
        for change in &dir.since[..count] {
            change.apply(&mut left);
        }
        for (name, node) in &left {
            let target = to.join(name);
            match node {
                Node::Dir(path) => {
                    fs::create_dir(&target).unwrap();
                    self.cut_dir(path, &target, names, data, random);
                }
                Node::File(file) => {
                    fs::write(target, self.files[*file].cut(data, random)).unwrap();
                }
            }
        }
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Truncate(size) => content.resize(*size, 0),
            Self::Write(offset, data) => {
                let end = offset + data.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(data);
            }
        }
    }
}

impl File {
    fn cut(&self, left: Left, random: &mut fastrand::Rng) -> Vec<u8> {
        let mut content = self.synced.clone();
        let in_order = random.bool();
        let count = left.count(self.since.len(), random);
        for (place, change) in self.since.iter().enumerate() {
            match (left, change) {
                (Left::Some, Change::Write(offset, data)) if !in_order => {
                    scatter(*offset, data, &mut content, random);
                }
                _ if place < count => change.apply(&mut content),
                // The size is there and the data is not.
                (Left::Some, Change::Write(offset, data)) if random.bool() => {
                    let end = offset + data.len();
                    if content.len() < end {
                        content.resize(end, 0);
                    }
                }
                _ => {}
            }
        }
        content
    }
}

/// Of a write, some pages reach the disk, and of some only the first sectors.
fn scatter(offset: usize, data: &[u8], content: &mut Vec<u8>, random: &mut fastrand::Rng) {
    let mut from = 0;
    while from < data.len() {
        let page_end = (offset + from) / PAGE * PAGE + PAGE;
        let to = data.len().min(page_end - offset);
        let torn = from + SECTOR * random.usize(..8);
        let to_disk = match random.u8(..8) {
            0..4 => from,
            4 => torn.min(to),
            _ => to,
        };
        if to_disk > from {
            Change::Write(offset + from, data[from..to_disk].to_vec()).apply(content);
        }
        from = to;
    }
}
