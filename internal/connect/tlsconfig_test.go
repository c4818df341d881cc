package connect

import (
	"crypto/tls"
	"os"
	"strings"
	"testing"

	"pgdrover/internal/config"
	"pgdrover/internal/pgtest"
)

func TestTLSSettings(t *testing.T) {
	t.Parallel()
	ca := pgtest.StartCA(t, "ca")
	pair, err := ca.IssueServer("localhost")
	if err != nil {
		t.Fatal(err)
	}
	other, err := ca.IssueServer("elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	garbage := t.TempDir() + "/garbage"
	if err := os.WriteFile(garbage, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	base := func(change func(*config.Settings)) *config.Settings {
		s := &config.Settings{
			ClientTLSSSLMode: "require", ClientTLSCertFile: pair.CertFile, ClientTLSKeyFile: pair.KeyFile,
			ClientTLSProtocols: "secure", ClientTLSCiphers: "default", ClientTLSECDHCurve: "auto", ClientTLSDHEParams: "auto",
		}
		change(s)
		return s
	}
	tests := []struct {
		name   string
		change func(*config.Settings)
		err    string
		check  func(*tls.Config) bool
	}{
		{"defaults", func(*config.Settings) {}, "", func(c *tls.Config) bool {
			return c.MinVersion == tls.VersionTLS12 && c.MaxVersion == tls.VersionTLS13 && c.CipherSuites == nil && c.CurvePreferences == nil &&
				c.ClientAuth == tls.NoClientCert && len(ChannelBinding(c)) == 32
		}},
		{"disable needs nothing", func(s *config.Settings) { *s = config.Settings{ClientTLSSSLMode: "disable"} }, "", func(c *tls.Config) bool { return c == nil }},
		{"unset is disable", func(s *config.Settings) { *s = config.Settings{} }, "", func(c *tls.Config) bool { return c == nil }},
		{"mistakes count under disable", func(s *config.Settings) { s.ClientTLSSSLMode, s.ClientTLSCiphers = "disable", "x" }, `client_tls_ciphers: unknown cipher "x"`, nil},
		{"unknown mode", func(s *config.Settings) { s.ClientTLSSSLMode = "on" }, `client_tls_sslmode = "on" is not one of`, nil},
		{"no certificate", func(s *config.Settings) { s.ClientTLSCertFile, s.ClientTLSKeyFile = "", "" }, "needs client_tls_cert_file", nil},
		{"no key", func(s *config.Settings) { s.ClientTLSKeyFile = "" }, "must be set together", nil},
		{"certificate file missing", func(s *config.Settings) { s.ClientTLSCertFile = "/nonexistent" }, "client_tls_cert_file: open /nonexistent", nil},
		{"key of another", func(s *config.Settings) { s.ClientTLSKeyFile = other.KeyFile }, "does not match", nil},
		{"CA file is none", func(s *config.Settings) { s.ClientTLSCAFile = garbage }, "holds no certificate", nil},
		{"verify-ca without CA", func(s *config.Settings) { s.ClientTLSSSLMode = "verify-ca" }, "needs client_tls_ca_file", nil},
		{"verify-full", func(s *config.Settings) { s.ClientTLSSSLMode, s.ClientTLSCAFile = "verify-full", ca.CertFile }, "", func(c *tls.Config) bool {
			return c.ClientAuth == tls.RequireAndVerifyClientCert && c.ClientCAs != nil && c.RootCAs == nil
		}},
		{"allow with CA", func(s *config.Settings) { s.ClientTLSSSLMode, s.ClientTLSCAFile = "allow", ca.CertFile }, "", func(c *tls.Config) bool {
			return c.ClientAuth == tls.VerifyClientCertIfGiven
		}},
		{"all protocols", func(s *config.Settings) { s.ClientTLSProtocols = "all" }, "", func(c *tls.Config) bool { return c.MinVersion == tls.VersionTLS10 }},
		{"one protocol", func(s *config.Settings) { s.ClientTLSProtocols = "tlsv1.3" }, "", func(c *tls.Config) bool { return c.MinVersion == tls.VersionTLS13 }},
		{"protocol excluded", func(s *config.Settings) { s.ClientTLSProtocols = "all:!tlsv1.0,!tlsv1.1" }, "", func(c *tls.Config) bool { return c.MinVersion == tls.VersionTLS12 }},
		{"protocols with a gap", func(s *config.Settings) { s.ClientTLSProtocols = "tlsv1.1,tlsv1.3" }, "leaves a gap", nil},
		{"no protocol", func(s *config.Settings) { s.ClientTLSProtocols = "secure,!all" }, "leaves no protocol", nil},
		{"unknown protocol", func(s *config.Settings) { s.ClientTLSProtocols = "sslv3" }, `"sslv3" is not`, nil},
		{"named ciphers", func(s *config.Settings) {
			s.ClientTLSCiphers = "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305"
		}, "", func(c *tls.Config) bool {
			return len(c.CipherSuites) == 2 && c.CipherSuites[0] == tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
		}},
		{"OpenSSL's words", func(s *config.Settings) { s.ClientTLSCiphers = "HIGH:MEDIUM:+3DES:!aNULL:!kRSA:@STRENGTH" }, "", func(c *tls.Config) bool { return len(c.CipherSuites) == 13 }},
		{"secure", func(s *config.Settings) { s.ClientTLSCiphers = "secure" }, "", func(c *tls.Config) bool { return len(c.CipherSuites) == 6 }},
		{"fast", func(s *config.Settings) { s.ClientTLSCiphers = "fast" }, "", func(c *tls.Config) bool { return len(c.CipherSuites) == 8 }},
		{"normal", func(s *config.Settings) { s.ClientTLSCiphers = "normal" }, "", func(c *tls.Config) bool { return len(c.CipherSuites) == 12 }},
		{"unknown cipher", func(s *config.Settings) { s.ClientTLSCiphers = "HIGH:ECDHE-RSA-FOO" }, `unknown cipher "ECDHE-RSA-FOO"`, nil},
		{"no cipher left", func(s *config.Settings) { s.ClientTLSCiphers = "HIGH:!ECDHE:!kRSA" }, "leaves no cipher", nil},
		{"only absent ciphers", func(s *config.Settings) { s.ClientTLSCiphers = "PSK" }, "leaves no cipher", nil},
		{"TLS 1.3 ciphers", func(s *config.Settings) { s.ClientTLS13Ciphers = "TLS_AES_128_GCM_SHA256" }, "client_tls13_ciphers: the cipher suites of TLS 1.3 cannot be chosen", nil},
		{"unknown TLS 1.3 cipher", func(s *config.Settings) { s.ClientTLS13Ciphers = "x" }, `client_tls13_ciphers: unknown cipher "x"`, nil},
		{"all TLS 1.3 ciphers", func(s *config.Settings) {
			s.ClientTLS13Ciphers = "TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256"
		}, "", func(c *tls.Config) bool { return c != nil }},
		{"curves", func(s *config.Settings) { s.ClientTLSECDHCurve = "X25519:prime256v1" }, "", func(c *tls.Config) bool {
			return len(c.CurvePreferences) == 2 && c.CurvePreferences[1] == tls.CurveP256
		}},
		{"unknown curve", func(s *config.Settings) { s.ClientTLSECDHCurve = "brainpool" }, `client_tls_ecdhcurve: "brainpool"`, nil},
		{"unknown DHE parameters", func(s *config.Settings) { s.ClientTLSDHEParams = "x" }, `client_tls_dheparams = "x"`, nil},
	}
	for _, tc := range tests {
		cfg, _, err := ClientSideTLS(base(tc.change))
		switch {
		case tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)):
			t.Errorf("%s:\n got %v\nwant %s", tc.name, err, tc.err)
		case tc.err == "" && err != nil:
			t.Errorf("%s: %v", tc.name, err)
		case tc.err == "" && !tc.check(cfg):
			t.Errorf("%s: got %+v", tc.name, cfg)
		}
	}
	_, _, err = ServerSideTLS(&config.Settings{}, &config.Database{Name: "shop", ServerTLSSSLMode: "require", ServerTLSCertFile: pair.CertFile})
	if err == nil || !strings.Contains(err.Error(), "database shop: server_tls_cert_file and server_tls_key_file must be set together") {
		t.Errorf("got %v", err)
	}
	if _, mode, err := ServerSideTLS(&config.Settings{}, nil); err != nil || mode != SSLPrefer {
		t.Errorf("got %s, %v", mode, err)
	}
	for _, tc := range []struct {
		mode      string
		tls, unix bool
		ok        bool
	}{{SSLPrefer, false, false, true}, {SSLRequire, false, false, false}, {SSLRequire, true, false, true}, {SSLVerifyFull, false, true, true}} {
		if err := CheckClientTLS(tc.mode, tc.tls, tc.unix); (err == nil) != tc.ok {
			t.Errorf("%+v: got %v", tc, err)
		}
	}
}

func TestHostNames(t *testing.T) {
	t.Parallel()
	ca := pgtest.StartCA(t, "ca")
	tests := []struct {
		cert, host, mode string
		ok               bool
	}{
		{"db.example.com", "db.example.com", SSLVerifyFull, true},
		{"*.example.com", "db.example.com", SSLVerifyFull, true},
		{"*.example.com", "a.db.example.com", SSLVerifyFull, false},
		{"db.example.com", "other.example.com", SSLVerifyFull, false},
		{"db.example.com", "other.example.com", SSLVerifyCA, true},
		{"10.0.0.1", "10.0.0.1", SSLVerifyFull, true},
		{"10.0.0.1", "10.0.0.2", SSLVerifyFull, false},
	}
	for _, tc := range tests {
		for _, alternative := range []bool{true, false} {
			pair, err := ca.IssueServer(tc.cert)
			if !alternative {
				pair, err = ca.IssueClient(tc.cert) // a common name only
			}
			if err != nil {
				t.Fatal(err)
			}
			cs := tls.ConnectionState{PeerCertificates: nil}
			cert := pair.Certificate.Leaf
			if !alternative {
				cert.ExtKeyUsage = nil
			}
			cs.PeerCertificates = append(cs.PeerCertificates, cert)
			if err := verifyServer(cs, ca.Pool(), tc.mode, tc.host); (err == nil) != tc.ok {
				t.Errorf("%+v, alternative name %t: got %v", tc, alternative, err)
			}
		}
	}
	if err := verifyServer(tls.ConnectionState{}, ca.Pool(), SSLVerifyCA, "x"); err == nil {
		t.Error("no certificate is good enough")
	}
}
