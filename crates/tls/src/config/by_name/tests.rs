//! Tests of the choice of a certificate.
