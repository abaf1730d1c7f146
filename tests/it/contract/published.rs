//! The API as the binary prints it, for clients without access to reflection.

use std::{collections::BTreeSet, process::Command};

use prost::Message as _;
use prost_types::FileDescriptorSet;

const SERVICE: &str = "cancelot.v1.CancellationService";

/// What `cancelot proto` writes to a pipe.
fn printed(flags: &[&str]) -> Vec<u8> {
    let output = Command::new(env!("CARGO_BIN_EXE_cancelot"))
        .arg("proto")
        .args(flags)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

fn descriptors() -> FileDescriptorSet {
    FileDescriptorSet::decode(printed(&["--descriptor-set"]).as_slice()).unwrap()
}

#[test]
fn the_proto_is_printed_as_it_is_published() {
    let published = include_str!("../../../proto/cancelot/v1/cancelot.proto");
    assert_eq!(String::from_utf8(printed(&[])).unwrap(), published);
}

#[test]
fn a_descriptor_set_has_all_that_its_files_import_and_nothing_twice() {
    let set = descriptors();
    let mut known = BTreeSet::new();
    for file in &set.file {
        for import in &file.dependency {
            assert!(known.contains(import), "{} needs {import}", file.name());
        }
        assert!(known.insert(file.name().to_owned()), "{}", file.name());
    }
    let packages: BTreeSet<_> = set.file.iter().map(|file| file.package()).collect();
    for package in ["cancelot.v1", "grpc.health.v1", "google.rpc"] {
        assert!(packages.contains(package), "{package}: {packages:?}");
    }
}

#[test]
fn the_service_config_names_methods_that_are_there() {
    let set = descriptors();
    let methods: BTreeSet<_> = set
        .file
        .iter()
        .filter(|file| file.package() == "cancelot.v1")
        .flat_map(|file| &file.service)
        .flat_map(|service| &service.method)
        .map(|method| method.name().to_owned())
        .collect();
    let config: serde_json::Value =
        serde_json::from_slice(&printed(&["--service-config"])).unwrap();
    assert_eq!(config["healthCheckConfig"]["serviceName"], SERVICE);
    let mut names = 0;
    for name in config["methodConfig"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|method| method["name"].as_array().unwrap())
    {
        names += 1;
        assert_eq!(name["service"], SERVICE);
        if let Some(method) = name["method"].as_str() {
            assert!(methods.contains(method), "{method}: {methods:?}");
        }
    }
    assert!(names > 1, "{config}");
}
