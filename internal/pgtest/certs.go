package pgtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// A CA signs certificates for tests. Its files and those that it issues live in one folder.
type CA struct {
	CertFile string // PEM, for sslrootcert and the like
	Cert     *x509.Certificate

	dir string
	key *ecdsa.PrivateKey
}

// NewCA creates a certificate authority whose common name is name; its files go to dir, which must exist.
// The key stays in memory.
func NewCA(dir, name string) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("new CA %s: %w", name, err)
	}
	tmpl, err := certTemplate(name)
	if err != nil {
		return nil, fmt.Errorf("new CA %s: %w", name, err)
	}
	tmpl.IsCA, tmpl.BasicConstraintsValid = true, true
	tmpl.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("new CA %s: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("new CA %s: %w", name, err)
	}
	ca := &CA{CertFile: filepath.Join(dir, name+".crt"), Cert: cert, dir: dir, key: key}
	if err := writePEM(ca.CertFile, "CERTIFICATE", der); err != nil {
		return nil, fmt.Errorf("new CA %s: %w", name, err)
	}
	return ca, nil
}

// Pool returns a pool that trusts only this CA.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.Cert)
	return pool
}

// A KeyPair is a certificate with its key: two PEM files, and the same loaded.
type KeyPair struct {
	CertFile, KeyFile string
	Certificate       tls.Certificate
}

// IssueServer issues a certificate for the given host names and addresses, which is also the common name
// of its first; without any, for localhost, 127.0.0.1 and ::1. Issuing again under the same name replaces
// the files, as a rotation does.
func (ca *CA) IssueServer(hosts ...string) (KeyPair, error) {
	if len(hosts) == 0 {
		hosts = []string{"localhost", "127.0.0.1", "::1"}
	}
	return ca.issue("server-"+hosts[0], hosts[0], hosts, x509.ExtKeyUsageServerAuth)
}

// IssueClient issues a certificate whose common name is user, for sslcert and sslkey.
func (ca *CA) IssueClient(user string) (KeyPair, error) {
	return ca.issue("client-"+user, user, nil, x509.ExtKeyUsageClientAuth)
}

func (ca *CA) issue(file, commonName string, hosts []string, usage x509.ExtKeyUsage) (KeyPair, error) {
	fail := func(err error) (KeyPair, error) {
		return KeyPair{}, fmt.Errorf("issuing a certificate for %s: %w", commonName, err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fail(err)
	}
	tmpl, err := certTemplate(commonName)
	if err != nil {
		return fail(err)
	}
	tmpl.KeyUsage = x509.KeyUsageDigitalSignature
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{usage}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.Cert, &key.PublicKey, ca.key)
	if err != nil {
		return fail(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fail(err)
	}
	base := filepath.Join(ca.dir, filepath.Base(file))
	pair := KeyPair{CertFile: base + ".crt", KeyFile: base + ".key"}
	if err := writePEM(pair.CertFile, "CERTIFICATE", der); err != nil {
		return fail(err)
	}
	if err := writePEM(pair.KeyFile, "PRIVATE KEY", keyDER); err != nil {
		return fail(err)
	}
	if pair.Certificate, err = tls.LoadX509KeyPair(pair.CertFile, pair.KeyFile); err != nil {
		return fail(err)
	}
	return pair, nil
}

func certTemplate(commonName string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: commonName},
		NotBefore:    now.Add(-time.Hour), // clocks of containers and hosts may differ
		NotAfter:     now.Add(24 * time.Hour),
	}, nil
}

// writePEM writes a file that libpq accepts as a private key: only its owner may read it.
func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// writeCertificates puts the server's certificate, its key and the CA's certificate into the data directory
// and returns the settings that name them.
func (c *Cluster) writeCertificates() (map[string]string, error) {
	if c.opts.CA == nil {
		dir := filepath.Join(c.dir, "certs")
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
		ca, err := NewCA(dir, "pgtest-ca")
		if err != nil {
			return nil, err
		}
		c.opts.CA = ca
	}
	c.CA = c.opts.CA
	pair, err := c.CA.IssueServer()
	if err != nil {
		return nil, err
	}
	for name, from := range map[string]string{"server.crt": pair.CertFile, "server.key": pair.KeyFile, "root.crt": c.CA.CertFile} {
		content, err := os.ReadFile(from)
		if err != nil {
			return nil, err
		}
		if err := c.own.writeFile(filepath.Join(c.DataDir, name), string(content), 0o600); err != nil {
			return nil, err
		}
	}
	return map[string]string{
		"ssl":           "on",
		"ssl_cert_file": "server.crt",
		"ssl_key_file":  "server.key",
		"ssl_ca_file":   "root.crt",
	}, nil
}
