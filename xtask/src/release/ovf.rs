//! The description of a machine in a package for VMware or VirtualBox: an OVF 1.0 envelope (DMTF
//! DSP0243). The children of `Item` are in the order of the alphabet, as its schema requires.

use std::fmt::Write;

/// Schemas: the envelope's, and those of its parts.
const ENVELOPE: &str = "http://schemas.dmtf.org/ovf/envelope/1";
const CIM: &str = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2";
const VMDK: &str = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized";
/// `Linux 2.6.x 64-Bit` of CIM_OperatingSystem: Linux of no known distribution.
const LINUX: u32 = 100;
const PROCESSORS: u32 = 2;
const MEBIBYTES: u32 = 2048;

/// What runs the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Host {
    Vmware,
    Virtualbox,
}

/// The package.
#[derive(Debug, Clone)]
pub(super) struct Package<'a> {
    pub(super) host: Host,
    /// Of the machine.
    pub(super) name: &'a str,
    pub(super) version: &'a str,
    /// The file with the disk, and its size in bytes.
    pub(super) disk: (&'a str, u64),
    /// The virtual size of the disk in bytes.
    pub(super) capacity: u64,
}

/// A device: the elements of its `Item`.
type Item<'a> = &'a [(&'a str, &'a str)];

const PROCESSOR: Item = &[
    ("AllocationUnits", "hertz * 10^6"),
    ("Description", "Number of virtual CPUs"),
    ("ElementName", "Virtual CPUs"),
    ("InstanceID", "1"),
    ("ResourceType", "3"),
];
const MEMORY: Item = &[
    ("AllocationUnits", "byte * 2^20"),
    ("Description", "Memory size"),
    ("ElementName", "Memory"),
    ("InstanceID", "2"),
    ("ResourceType", "4"),
];
const PARAVIRTUAL_SCSI: Item = &[
    ("Address", "0"),
    ("Description", "SCSI controller"),
    ("ElementName", "SCSI controller 0"),
    ("InstanceID", "3"),
    ("ResourceSubType", "VirtualSCSI"),
    ("ResourceType", "6"),
];
const AHCI: Item = &[
    ("Address", "0"),
    ("Description", "SATA controller"),
    ("ElementName", "SATA controller 0"),
    ("InstanceID", "3"),
    ("ResourceSubType", "AHCI"),
    ("ResourceType", "20"),
];
const DISK: Item = &[
    ("AddressOnParent", "0"),
    ("ElementName", "Hard disk 1"),
    ("HostResource", "ovf:/disk/vmdisk1"),
    ("InstanceID", "4"),
    ("Parent", "3"),
    ("ResourceType", "17"),
];

/// The envelope as XML.
pub(super) fn envelope(package: &Package<'_>) -> String {
    let Package { name, version, disk: (file, size), capacity, .. } = package;
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="{ENVELOPE}" xmlns:ovf="{ENVELOPE}"
    xmlns:rasd="{CIM}/CIM_ResourceAllocationSettingData"
    xmlns:vssd="{CIM}/CIM_VirtualSystemSettingData"
    xmlns:vmw="http://www.vmware.com/schema/ovf"
    xmlns:vbox="http://www.virtualbox.org/ovf/machine">
  <References>
    <File ovf:href="{file}" ovf:id="file1" ovf:size="{size}"/>
  </References>
  <DiskSection>
    <Info>Virtual disks</Info>
    <Disk ovf:capacity="{capacity}" ovf:capacityAllocationUnits="byte" ovf:diskId="vmdisk1"
        ovf:fileRef="file1" ovf:format="{VMDK}"/>
  </DiskSection>
  <NetworkSection>
    <Info>Networks</Info>
    <Network ovf:name="{network}">
      <Description>The network of the first card</Description>
    </Network>
  </NetworkSection>
  <VirtualSystem ovf:id="{name}">
    <Info>A machine that runs Corral</Info>
    <Name>{name}</Name>
{system}    <VirtualHardwareSection{transport}>
      <Info>Virtual hardware</Info>
      <System>
        <vssd:ElementName>Virtual hardware family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>{name}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>{family}</vssd:VirtualSystemType>
      </System>
{items}    </VirtualHardwareSection>
    <ProductSection>
      <Info>The system on the disk</Info>
      <Product>Corral</Product>
      <Version>{version}</Version>
{properties}    </ProductSection>
  </VirtualSystem>
</Envelope>
"#,
        network = package.host.network(),
        system = package.host.system(),
        transport = package.host.transport(),
        family = package.host.family(),
        items = package.host.items(),
        properties = package.host.properties(),
    )
}

impl Host {
    fn network(self) -> &'static str {
        match self {
            Host::Vmware => "VM Network",
            Host::Virtualbox => "NAT",
        }
    }

    /// The oldest hardware on which the product's drivers and UEFI work.
    fn family(self) -> &'static str {
        match self {
            Host::Vmware => "vmx-13",
            Host::Virtualbox => "virtualbox-2.2",
        }
    }

    /// User data goes to the machine in guestinfo variables.
    fn transport(self) -> &'static str {
        match self {
            Host::Vmware => " ovf:transport=\"com.vmware.guestInfo\"",
            Host::Virtualbox => "",
        }
    }

    fn system(self) -> String {
        let (attribute, element) = match self {
            Host::Vmware => (" vmw:osType=\"other3xLinux64Guest\"", ""),
            Host::Virtualbox => {
                ("", "      <vbox:OSType ovf:required=\"false\">Linux_64</vbox:OSType>\n")
            }
        };
        format!(
            "    <OperatingSystemSection ovf:id=\"{LINUX}\"{attribute}>\n      \
             <Info>The guest operating system</Info>\n{element}    </OperatingSystemSection>\n"
        )
    }

    fn items(self) -> String {
        let network = self.network();
        let (controller, model) = match self {
            Host::Vmware => (PARAVIRTUAL_SCSI, "VmxNet3"),
            Host::Virtualbox => (AHCI, "E1000"),
        };
        let card: Item = &[
            ("AutomaticAllocation", "true"),
            ("Connection", network),
            ("Description", "Network card"),
            ("ElementName", "Network card 1"),
            ("InstanceID", "5"),
            ("ResourceSubType", model),
            ("ResourceType", "10"),
        ];
        let quantity = |item: Item, number: u32| {
            let mut elements = item.to_vec();
            let number = number.to_string();
            elements.push(("VirtualQuantity", &number));
            to_xml(&elements)
        };
        [
            quantity(PROCESSOR, PROCESSORS),
            quantity(MEMORY, MEBIBYTES),
            to_xml(controller),
            to_xml(DISK),
            to_xml(card),
            self.firmware().to_owned(),
        ]
        .concat()
    }

    /// The disk starts by BIOS too; VMware's default depends on its version.
    fn firmware(self) -> &'static str {
        match self {
            Host::Vmware => {
                "      <vmw:Config ovf:required=\"false\" vmw:key=\"firmware\" \
                 vmw:value=\"efi\"/>\n"
            }
            Host::Virtualbox => "",
        }
    }

    fn properties(self) -> String {
        if self == Host::Virtualbox {
            return String::new();
        }
        let rows = [
            ("hostname", "Host name", "of the machine"),
            ("cloud-init.config.data", "User data", "cloud-config, script or compose file"),
            (
                "cloud-init.data.encoding",
                "Encoding of the user data",
                "empty, base64 or gzip+base64",
            ),
            ("cloud-init.config.url", "URL of user data", "instead of the user data itself"),
        ];
        rows.iter().fold(String::new(), |mut text, (key, label, about)| {
            let _ =
                writeln!(text, "      <Property ovf:key=\"guestinfo.{key}\" ovf:type=\"string\"");
            let _ = writeln!(text, "          ovf:userConfigurable=\"true\" ovf:value=\"\">");
            let _ = writeln!(text, "        <Label>{label}</Label>");
            let _ = writeln!(text, "        <Description>{about}</Description>");
            let _ = writeln!(text, "      </Property>");
            text
        })
    }
}

fn to_xml(item: Item) -> String {
    let elements = item.iter().fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "        <rasd:{name}>{value}</rasd:{name}>");
        text
    });
    format!("      <Item>\n{elements}      </Item>\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use roxmltree::{Document, Node};

    fn package(host: Host) -> Package<'static> {
        Package {
            host,
            name: "corral",
            version: "1.2.3",
            disk: ("corral.vmdk", 123),
            capacity: 2 << 30,
        }
    }

    fn children<'a>(node: Node<'a, 'a>) -> Vec<&'a str> {
        let elements = node.children().filter(Node::is_element);
        elements.map(|child| child.tag_name().name()).collect()
    }

    fn of<'a>(document: &'a Document<'a>, name: &str) -> Vec<Node<'a, 'a>> {
        document.descendants().filter(|node| node.has_tag_name((ENVELOPE, name))).collect()
    }

    #[test]
    fn the_parts_are_in_the_order_of_the_schema() {
        for host in [Host::Vmware, Host::Virtualbox] {
            let text = envelope(&package(host));
            let document = Document::parse(&text).unwrap();
            assert!(document.root_element().has_tag_name((ENVELOPE, "Envelope")));
            assert_eq!(
                children(document.root_element()),
                ["References", "DiskSection", "NetworkSection", "VirtualSystem"]
            );
            assert_eq!(
                children(of(&document, "VirtualSystem")[0]),
                [
                    "Info",
                    "Name",
                    "OperatingSystemSection",
                    "VirtualHardwareSection",
                    "ProductSection"
                ]
            );
            let items = of(&document, "Item");
            assert_eq!(items.len(), 5);
            for item in items {
                assert!(children(item).is_sorted(), "{:?}", children(item));
                assert!(children(item).contains(&"InstanceID"));
                assert!(children(item).contains(&"ResourceType"));
            }
        }
    }

    #[test]
    fn references_have_what_they_refer_to() {
        let text = envelope(&package(Host::Vmware));
        let document = Document::parse(&text).unwrap();
        let value = |name: &str, attribute: &str| {
            of(&document, name)[0].attribute((ENVELOPE, attribute)).unwrap().to_owned()
        };
        assert_eq!(value("File", "href"), "corral.vmdk");
        assert_eq!(value("File", "size"), "123");
        assert_eq!(value("Disk", "fileRef"), value("File", "id"));
        assert_eq!(value("Disk", "capacity"), "2147483648");
        let host_resource = format!("ovf:/disk/{}", value("Disk", "diskId"));
        assert!(text.contains(&format!("<rasd:HostResource>{host_resource}<")), "{text}");
        let network = value("Network", "name");
        assert!(text.contains(&format!("<rasd:Connection>{network}<")), "{text}");
        assert_eq!(of(&document, "Property").len(), 4);
    }
}
