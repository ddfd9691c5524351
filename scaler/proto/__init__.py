"""KEDA's and our protocol: .proto files and the stubs generated from them, never edited by hand."""
