//! The known methods, from the descriptors that reflection serves.

use prost::{DecodeError, Message as _};
use prost_types::{FileDescriptorSet, MethodDescriptorProto};

use crate::observe::MethodLabel;

/// The methods of all services in these descriptor sets.
///
/// # Errors
/// If a descriptor set cannot be decoded.
pub fn methods(sets: &[&[u8]]) -> Result<Vec<MethodLabel>, DecodeError> {
    let mut found = Vec::new();
    for set in sets {
        for file in FileDescriptorSet::decode(*set)?.file {
            for service in &file.service {
                let name = format!("{}.{}", file.package(), service.name());
                found.extend(service.method.iter().map(|method| MethodLabel {
                    service: name.clone(),
                    name: method.name().to_owned(),
                    kind: kind(method),
                }));
            }
        }
    }
    Ok(found)
}

fn kind(method: &MethodDescriptorProto) -> &'static str {
    match (method.client_streaming(), method.server_streaming()) {
        (false, false) => "unary",
        (true, false) => "client_stream",
        (false, true) => "server_stream",
        (true, true) => "bidi_stream",
    }
}
