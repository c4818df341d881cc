package connect

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"pgdrover/internal/auth"
	"pgdrover/internal/config"
)

// tlsFiles are settings of one side, with the names of their keys for messages.
type tlsFiles struct {
	prefix          string // "client_tls_" or "server_tls_"
	mode            string
	ca, cert, key   string
	protocols       string
	ciphers, tls13  string
	curves, dhparam string // listener only
}

// ClientSideTLS builds the configuration with which clients are accepted, and returns client_tls_sslmode. The
// configuration is nil under disable. Files are read now, so that what is in force does not change with them.
//
// Where client_tls_ca_file is set, clients may show a certificate, and one that the authorities did not sign ends the
// handshake; verify-ca and verify-full demand one. See ClientCert for what it says. Under the other modes without that
// file clients are not asked.
//
// client_tls_dheparams has no effect on what is negotiated: crypto/tls has no cipher suites with ephemeral
// Diffie-Hellman over finite fields, which that setting is about.
func ClientSideTLS(s *config.Settings) (cfg *tls.Config, mode string, err error) {
	f := tlsFiles{
		prefix: "client_tls_", mode: s.ClientTLSSSLMode,
		ca: s.ClientTLSCAFile, cert: s.ClientTLSCertFile, key: s.ClientTLSKeyFile, protocols: s.ClientTLSProtocols,
		ciphers: s.ClientTLSCiphers, tls13: s.ClientTLS13Ciphers, curves: s.ClientTLSECDHCurve, dhparam: s.ClientTLSDHEParams,
	}
	if cfg, err = f.build(); err != nil || f.mode == SSLDisable {
		return nil, f.mode, err
	}
	if len(cfg.Certificates) == 0 {
		return nil, f.mode, fmt.Errorf("client_tls_sslmode = %s needs client_tls_cert_file and client_tls_key_file", f.mode)
	}
	cfg.ClientCAs, cfg.RootCAs = cfg.RootCAs, nil
	if cfg.ClientCAs != nil {
		cfg.ClientAuth = tls.VerifyClientCertIfGiven
	}
	if f.mode == SSLVerifyCA || f.mode == SSLVerifyFull {
		if cfg.ClientCAs == nil {
			return nil, f.mode, fmt.Errorf("client_tls_sslmode = %s needs client_tls_ca_file", f.mode)
		}
		cfg.ClientAuth = tls.RequireAndVerifyClientCert
	}
	cfg.NextProtos = []string{"postgresql"}
	return cfg, f.mode, nil
}

// ServerSideTLS builds what connections to servers start from, for Target.TLS, and returns the mode, for
// Target.SSLMode. What database d sets for itself comes first; d may be nil. Without a CA file verify-ca and verify-full
// trust the system's authorities. The configuration is nil under disable.
func ServerSideTLS(s *config.Settings, d *config.Database) (cfg *tls.Config, mode string, err error) {
	f := tlsFiles{
		prefix: "server_tls_", mode: s.ServerTLSSSLMode,
		ca: s.ServerTLSCAFile, cert: s.ServerTLSCertFile, key: s.ServerTLSKeyFile, protocols: s.ServerTLSProtocols,
		ciphers: s.ServerTLSCiphers, tls13: s.ServerTLS13Ciphers,
	}
	if d != nil {
		over := func(dst *string, v string) {
			if v != "" {
				*dst = v
			}
		}
		over(&f.mode, d.ServerTLSSSLMode)
		over(&f.ca, d.ServerTLSCAFile)
		if d.ServerTLSCertFile != "" || d.ServerTLSKeyFile != "" {
			f.cert, f.key = d.ServerTLSCertFile, d.ServerTLSKeyFile // a pair of their own, or an error
		}
	}
	if f.mode == "" {
		f.mode = SSLPrefer
	}
	if cfg, err = f.build(); err != nil {
		if d != nil {
			err = fmt.Errorf("database %s: %w", d.Name, err)
		}
		return nil, f.mode, err
	}
	if f.mode == SSLDisable {
		return nil, f.mode, nil
	}
	return cfg, f.mode, nil
}

// build checks every setting, also under disable, so that a mistake does not wait until TLS is switched on; files are
// read only if they are used.
func (f *tlsFiles) build() (*tls.Config, error) {
	switch f.mode {
	case "":
		f.mode = SSLDisable
	case SSLDisable, SSLAllow, SSLPrefer, SSLRequire, SSLVerifyCA, SSLVerifyFull:
	default:
		return nil, fmt.Errorf("%ssslmode = %q is not one of disable, allow, prefer, require, verify-ca, verify-full", f.prefix, f.mode)
	}
	cfg := &tls.Config{}
	var err error
	if cfg.MinVersion, cfg.MaxVersion, err = parseProtocols(f.prefix+"protocols", f.protocols); err != nil {
		return nil, err
	}
	if cfg.CipherSuites, err = parseCiphers(f.prefix+"ciphers", f.ciphers); err != nil {
		return nil, err
	}
	if err = checkTLS13Ciphers(strings.TrimSuffix(f.prefix, "_")+"13_ciphers", f.tls13); err != nil {
		return nil, err
	}
	if cfg.CurvePreferences, err = parseCurves(f.prefix+"ecdhcurve", f.curves); err != nil {
		return nil, err
	}
	if !slices.Contains([]string{"", "auto", "none", "legacy"}, f.dhparam) {
		return nil, fmt.Errorf("%sdheparams = %q is not one of auto, none, legacy", f.prefix, f.dhparam)
	}
	if f.mode == SSLDisable {
		return cfg, nil
	}
	if (f.cert == "") != (f.key == "") {
		return nil, fmt.Errorf("%scert_file and %skey_file must be set together", f.prefix, f.prefix)
	}
	if f.cert != "" {
		pair, err := f.loadPair()
		if err != nil {
			return nil, err
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, fmt.Errorf("%sca_file: %w", f.prefix, err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%sca_file: %s holds no certificate", f.prefix, f.ca)
		}
	}
	return cfg, nil
}

func (f *tlsFiles) loadPair() (tls.Certificate, error) {
	cert, err := os.ReadFile(f.cert)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("%scert_file: %w", f.prefix, err)
	}
	key, err := os.ReadFile(f.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("%skey_file: %w", f.prefix, err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("%scert_file %s with key %s: %w", f.prefix, f.cert, f.key, err)
	}
	return pair, nil
}

// parseProtocols reads client_tls_protocols and server_tls_protocols: secure (1.2 and 1.3), all or legacy (1.0 to 1.3), or
// a list of versions, "!" before one excluding it. The versions must follow each other.
func parseProtocols(key, s string) (lo, hi uint16, err error) {
	const first, last = tls.VersionTLS10, tls.VersionTLS13
	var on [last - first + 1]bool
	set := func(from, to int, v bool) {
		for i := from; i <= to; i++ {
			on[i-first] = v
		}
	}
	if s == "" {
		s = "secure"
	}
	words := strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return strings.ContainsRune(":, ", r) })
	for i, w := range words {
		w, not := strings.CutPrefix(w, "!")
		if not && i == 0 {
			set(first, last, true) // "!tlsv1.0" alone is everything else
		}
		switch w {
		case "secure", "default":
			set(tls.VersionTLS12, last, !not)
		case "all", "legacy", "tlsv1":
			set(first, last, !not)
		case "tlsv1.0":
			set(tls.VersionTLS10, tls.VersionTLS10, !not)
		case "tlsv1.1":
			set(tls.VersionTLS11, tls.VersionTLS11, !not)
		case "tlsv1.2":
			set(tls.VersionTLS12, tls.VersionTLS12, !not)
		case "tlsv1.3":
			set(tls.VersionTLS13, tls.VersionTLS13, !not)
		default:
			return 0, 0, fmt.Errorf("%s: %q is not secure, all, legacy, tlsv1.0, tlsv1.1, tlsv1.2 or tlsv1.3", key, w)
		}
	}
	for v := uint16(first); v <= last; v++ {
		switch {
		case !on[v-first]:
		case lo == 0:
			lo, hi = v, v
		case hi != v-1:
			return 0, 0, fmt.Errorf("%s: %q leaves a gap between %s and %s", key, s, tls.VersionName(hi), tls.VersionName(v))
		default:
			hi = v
		}
	}
	if lo == 0 {
		return 0, 0, fmt.Errorf("%s: %q leaves no protocol", key, s)
	}
	return lo, hi, nil
}

// ChannelBinding returns what auth.Request.ChannelBinding needs for connections under a listener's configuration.
func ChannelBinding(cfg *tls.Config) []byte {
	if cfg == nil || len(cfg.Certificates) != 1 {
		return nil
	}
	leaf := cfg.Certificates[0].Leaf
	if leaf == nil {
		return nil
	}
	return auth.TLSServerEndPoint(leaf)
}

// ClientCert returns the common name of the certificate that a client showed. verified says that one of the
// configured authorities signed it.
func ClientCert(cs *tls.ConnectionState) (commonName string, verified bool) {
	if cs == nil || len(cs.VerifiedChains) == 0 || len(cs.PeerCertificates) == 0 {
		return "", false
	}
	return cs.PeerCertificates[0].Subject.CommonName, true
}

// errSSLRequired has PgBouncer's wording.
var errSSLRequired = errors.New("SSL required")

// CheckClientTLS reports whether a client may go on under client_tls_sslmode. Unix sockets need no TLS. The
// error's text is PgBouncer's.
func CheckClientTLS(mode string, encrypted, unixSocket bool) error {
	switch mode {
	case SSLRequire, SSLVerifyCA, SSLVerifyFull:
		if !encrypted && !unixSocket {
			return errSSLRequired
		}
	}
	return nil
}
