//! The recorder's log, read back.

/// One thing that the process did.
#[derive(Debug)]
pub(super) enum Op {
    /// A file or directory was opened, and made if it was not there.
    Open {
        path: String,
        inode: u64,
        truncates: bool,
    },
    Write {
        inode: u64,
        offset: usize,
        data: Vec<u8>,
    },
    Truncate {
        inode: u64,
        size: usize,
    },
    Sync {
        inode: u64,
    },
    MakeDir {
        path: String,
    },
    Rename {
        from: String,
        to: String,
    },
    Remove {
        path: String,
    },
    /// It said this on its standard output.
    Said(String),
}

/// Reads the log; a record that the end of the process cut short is left out.
pub(super) fn read(mut log: &[u8]) -> Vec<Op> {
    let mut ops = Vec::new();
    while let Some((op, rest)) = one(log) {
        ops.push(op);
        log = rest;
    }
    ops
}

fn one(log: &[u8]) -> Option<(Op, &[u8])> {
    let (kind, rest) = log.split_first()?;
    let (inode, rest) = rest.split_first_chunk().map(u64_in)?;
    let (offset, rest) = rest.split_first_chunk().map(u64_in)?;
    let (text, rest) = rest.split_first_chunk().map(size_in)?;
    let (data, rest) = rest.split_first_chunk().map(size_in)?;
    let (text, rest) = rest.split_at_checked(text)?;
    let (data, rest) = rest.split_at_checked(data)?;
    let path = String::from_utf8(text.to_vec()).unwrap();
    let offset = usize::try_from(offset).unwrap();
    let op = match *kind {
        b'o' => Op::Open {
            path,
            inode,
            truncates: offset != 0,
        },
        b'w' => Op::Write {
            inode,
            offset,
            data: data.to_vec(),
        },
        b't' => Op::Truncate {
            inode,
            size: offset,
        },
        b'f' => Op::Sync { inode },
        b'd' => Op::MakeDir { path },
        b'r' => Op::Rename {
            from: path,
            to: String::from_utf8(data.to_vec()).unwrap(),
        },
        b'u' => Op::Remove { path },
        b's' => Op::Said(String::from_utf8_lossy(data).into_owned()),
        other => panic!("a record of kind {other}"),
    };
    Some((op, rest))
}

fn u64_in<'a>((bytes, rest): (&[u8; 8], &'a [u8])) -> (u64, &'a [u8]) {
    (u64::from_ne_bytes(*bytes), rest)
}

fn size_in<'a>((bytes, rest): (&[u8; 4], &'a [u8])) -> (usize, &'a [u8]) {
    let size = usize::try_from(u32::from_ne_bytes(*bytes));
    (size.unwrap(), rest)
}
