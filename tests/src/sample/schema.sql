SET NAMES utf8mb4;
SET foreign_key_checks = 0, unique_checks = 0, autocommit = 0;

CREATE SEQUENCE order_numbers START WITH 1000000 INCREMENT BY 1 CACHE 100;

-- Customers and addresses point at each other.
CREATE TABLE customers (
  id BIGINT UNSIGNED NOT NULL PRIMARY KEY,
  email VARCHAR(120) CHARACTER SET ascii NOT NULL,
  name VARCHAR(120) NOT NULL,
  country CHAR(2) CHARACTER SET ascii NOT NULL,
  note TEXT,
  default_address_id BIGINT UNSIGNED,
  initial CHAR(1) GENERATED ALWAYS AS (UPPER(LEFT(name, 1))) VIRTUAL,
  UNIQUE KEY by_email (email),
  KEY by_country (country)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE addresses (
  id BIGINT UNSIGNED NOT NULL PRIMARY KEY,
  customer_id BIGINT UNSIGNED NOT NULL,
  street VARCHAR(120) NOT NULL,
  city VARCHAR(80) NOT NULL,
  postcode VARCHAR(12) NOT NULL,
  CONSTRAINT address_of FOREIGN KEY (customer_id) REFERENCES customers (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

ALTER TABLE customers
  ADD CONSTRAINT lives_at FOREIGN KEY (default_address_id) REFERENCES addresses (id);

CREATE TABLE products (
  id BIGINT UNSIGNED NOT NULL PRIMARY KEY,
  sku VARCHAR(20) CHARACTER SET ascii NOT NULL,
  name VARCHAR(160) NOT NULL,
  net DECIMAL(10, 2) NOT NULL,
  vat DECIMAL(4, 3) NOT NULL DEFAULT 0.190,
  gross DECIMAL(10, 2) GENERATED ALWAYS AS (ROUND(net * (1 + vat), 2)) STORED,
  attributes JSON,
  UNIQUE KEY by_sku (sku),
  CHECK (net >= 0)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE orders (
  id BIGINT UNSIGNED NOT NULL PRIMARY KEY,
  customer_id BIGINT UNSIGNED NOT NULL,
  ordered_at DATETIME(3) NOT NULL,
  status ENUM ('new', 'paid', 'sent', 'returned') NOT NULL DEFAULT 'new',
  weight_kg DOUBLE,
  CONSTRAINT ordered_by FOREIGN KEY (customer_id) REFERENCES customers (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE order_items (
  order_id BIGINT UNSIGNED NOT NULL,
  line SMALLINT UNSIGNED NOT NULL,
  product_id BIGINT UNSIGNED NOT NULL,
  quantity INT NOT NULL,
  price DECIMAL(10, 2) NOT NULL,
  amount DECIMAL(12, 2) GENERATED ALWAYS AS (quantity * price) VIRTUAL,
  PRIMARY KEY (order_id, line),
  CONSTRAINT item_of FOREIGN KEY (order_id) REFERENCES orders (id) ON DELETE CASCADE,
  CONSTRAINT item_is FOREIGN KEY (product_id) REFERENCES products (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE attachments (
  id BIGINT UNSIGNED NOT NULL PRIMARY KEY AUTO_INCREMENT,
  order_id BIGINT UNSIGNED NOT NULL,
  file_name VARCHAR(160) NOT NULL,
  content LONGBLOB NOT NULL,
  CONSTRAINT attached_to FOREIGN KEY (order_id) REFERENCES orders (id) ON DELETE CASCADE
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;

CREATE TABLE audit_log (
  id BIGINT UNSIGNED NOT NULL PRIMARY KEY AUTO_INCREMENT,
  customer_id BIGINT UNSIGNED,
  what VARCHAR(200) NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4;
COMMIT;
