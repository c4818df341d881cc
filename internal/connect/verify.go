package connect

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
)

// verifyServer checks a server's certificate as libpq does: against the authorities, and under verify-full its
// name. A certificate without any alternative names is matched by its common name.
func verifyServer(cs tls.ConnectionState, roots *x509.CertPool, mode, host string) error {
	if len(cs.PeerCertificates) == 0 {
		return errors.New("the server showed no certificate")
	}
	leaf := cs.PeerCertificates[0]
	opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, c := range cs.PeerCertificates[1:] {
		opts.Intermediates.AddCert(c)
	}
	if _, err := leaf.Verify(opts); err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: cs.PeerCertificates, Err: err}
	}
	if mode != SSLVerifyFull {
		return nil
	}
	names := leaf
	if len(leaf.DNSNames) == 0 && len(leaf.IPAddresses) == 0 && leaf.Subject.CommonName != "" {
		cn := leaf.Subject.CommonName
		names = &x509.Certificate{Subject: leaf.Subject, DNSNames: []string{cn}}
		if ip := net.ParseIP(cn); ip != nil {
			names.DNSNames, names.IPAddresses = nil, []net.IP{ip}
		}
	}
	if err := names.VerifyHostname(host); err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: cs.PeerCertificates, Err: err}
	}
	return nil
}
